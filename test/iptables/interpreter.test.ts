import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Interpreter, interpret, type Packet } from './interpreter.ts';

const packet: Packet = {
  hook: 'OUTPUT',
  proto: 'tcp',
  src: '10.0.0.5',
  dst: '10.1.2.3',
  dport: 80,
  iface: 'eth0',
};

function nat(...rules: string[]): string {
  return ['*nat', ':A - [0:0]', ':B - [0:0]', ...rules, 'COMMIT', ''].join('\n');
}

it('goes on after a chain that returns, and ends with the first verdict', () => {
  const text = nat(
    '-A OUTPUT -j A',
    '-A A -p tcp -j RETURN',
    '-A A -j DROP',
    '-A OUTPUT -p tcp -j REDIRECT --to-ports 7',
  );
  const { verdict, trace } = interpret(text, packet);
  assert.deepEqual(verdict, { kind: 'redirect', port: 7 });
  assert.deepEqual(trace, [
    '-A OUTPUT -j A',
    '-A A -p tcp -j RETURN',
    '-A OUTPUT -p tcp -j REDIRECT --to-ports 7',
  ]);
});

it('does not come back from a goto', () => {
  const text = nat('-A OUTPUT -j A', '-A A -g B', '-A A -j DROP', '-A OUTPUT -j REDIRECT --to-ports 7');
  assert.deepEqual(interpret(text, packet).verdict, { kind: 'redirect', port: 7 });
});

it('negates the option that follows and no other', () => {
  const text = nat('-A OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 53 -j DROP');
  assert.equal(interpret(text, { ...packet, iface: 'lo' }).verdict.kind, 'drop');
  assert.equal(interpret(text, packet).verdict.kind, 'accept');
  assert.equal(interpret(text, { ...packet, iface: 'lo', dport: 53 }).verdict.kind, 'accept');
  assert.equal(interpret(text, { ...packet, iface: 'lo', dst: '127.0.0.1' }).verdict.kind, 'accept');
});

it('keeps the first conntrack zone that a rule gives', () => {
  const text = '*raw\n-A OUTPUT -p tcp -j CT --zone 2\n-A OUTPUT -j CT --zone 1\nCOMMIT\n';
  assert.equal(interpret(text, packet).zone, 2);
});

it('matches ranges of ports and of users, interfaces by their beginning, and local addresses', () => {
  const text = nat(
    '-A OUTPUT -p tcp -m multiport --dports 1:3,80 -m owner --uid-owner 5-9 -o eth+ -m addrtype ! --dst-type LOCAL -j DROP',
  );
  const owned = { ...packet, uid: 7 };
  assert.equal(interpret(text, owned).verdict.kind, 'drop');
  assert.equal(interpret(text, { ...owned, dport: 4 }).verdict.kind, 'accept');
  assert.equal(interpret(text, { ...owned, uid: 10 }).verdict.kind, 'accept');
  assert.equal(interpret(text, { ...owned, iface: 'lo' }).verdict.kind, 'accept');
  assert.equal(interpret(text, { ...owned, local: ['10.1.2.3'] }).verdict.kind, 'accept');
});

it('refuses what it does not know', () => {
  assert.throws(() => new Interpreter(nat('-A OUTPUT -m string --string x -j DROP')), /string is not known/);
  assert.throws(() => new Interpreter(nat('-A OUTPUT --tcp-flags SYN -j DROP')), /is not known/);
  assert.throws(() => interpret(nat('-A OUTPUT -j NOWHERE'), packet), /no chain NOWHERE/);
  assert.throws(() => new Interpreter('*nat\n-A OUTPUT -j DROP\n'), /not committed/);
  assert.throws(() => interpret(nat('-A A -j B', '-A B -j A', '-A OUTPUT -j A'), packet), /circle/);
});
