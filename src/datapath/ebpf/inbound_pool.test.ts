import assert from 'node:assert/strict';
import { it } from 'node:test';
import { until } from '../../lab/deadline.ts';
import { InboundPool } from './inbound_pool.ts';

/** What a pool loads, and what became of it. */
class Loads {
  made = 0;
  readonly open = new Set<number>();
  fault: Error | null = null;

  readonly load = async (): Promise<Disposable & { number: number }> => {
    if (this.fault !== null) throw this.fault;
    const number = ++this.made;
    this.open.add(number);
    return { number, [Symbol.dispose]: () => void this.open.delete(number) };
  };

  /** Waits until it has loaded as many as it keeps, and tells how many those are. */
  full(): Promise<number> {
    let before = -1;
    const look = (): number | undefined => {
      const same = this.made === before ? this.made : undefined;
      before = this.made;
      return same === 0 ? undefined : same;
    };
    return until(look, { what: 'the pool to be full', everyMs: 60 });
  }
}

it('has some ready, gives each once, and fills up behind', async () => {
  const loads = new Loads();
  using pool = new InboundPool(loads.load);
  const kept = await loads.full();
  const taken = new Set<number>();
  for (let i = 0; i < 2 * kept; i++) taken.add((await pool.take()).number);
  assert.equal(taken.size, 2 * kept);
  await until(() => (loads.made === 3 * kept ? true : undefined), { what: 'as many again' });
});

it('loads on the spot where none is ready, and tells why that fails', async () => {
  const loads = new Loads();
  using pool = new InboundPool(loads.load);
  assert.equal((await pool.take()).number, 1);
  await loads.full();
  const { made } = loads;
  loads.fault = new Error('no memory');
  for (let i = 1; i < made; i++) await pool.take();
  await assert.rejects(() => pool.take(), /no memory/);
  loads.fault = null;
  assert.equal((await pool.take()).number, made + 1);
});

it('closes what nobody took, also what was being loaded', async () => {
  const loads = new Loads();
  const pool = new InboundPool(loads.load);
  const { number } = await pool.take();
  await until(() => (loads.made > 1 ? true : undefined), { what: 'a load', everyMs: 1 });
  pool[Symbol.dispose]();
  await loads.full();
  assert.deepEqual([...loads.open], [number]);
});
