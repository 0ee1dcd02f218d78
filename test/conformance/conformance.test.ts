/**
 * Connections in pods of three meshes: under the mesh's own rules, under both of our backends, and under eBPF in a pod that
 * has those rules as well.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { BACKENDS } from './bed.ts';
import { type Matrix, runMatrix } from './matrix.ts';
import { type Family, MESHES } from './meshes.ts';
import { failures } from './table.ts';

const FAMILIES: readonly Family[] = existsSync('/proc/sys/net/ipv6') ? [4, 6] : [4];

/** Consul's rules take the application's calls to its own pod; the other meshes' do not. */
const TRIED = ['istio', 'linkerd', 'consul'];

for (const mesh of MESHES.filter(({ name }) => TRIED.includes(name))) {
  describe(`a pod of ${mesh.name}`, () => {
    let matrix: Matrix;
    before(async () => {
      matrix = await runMatrix(mesh, { backends: BACKENDS, families: FAMILIES });
    });

    it("captures as the mesh's rules say: outbound, inbound, and neither", () => {
      const landing = (who: string, to: string) =>
        matrix.rows.find(({ case: tried }) => tried.who === who && tried.to === to)?.oracle.landing;
      assert.equal(landing('app', 'outside'), `sidecar:${mesh.outbound}`);
      assert.equal(landing('sidecar', 'outside'), 'outside:8080');
      assert.equal(landing('app', 'outside, excluded port'), 'outside:3306');
      assert.equal(landing('outside', 'pod'), `sidecar:${mesh.inbound}`);
      assert.equal(landing('outside', 'pod, in-excluded port'), 'app:9000');
    });

    for (const backend of BACKENDS) {
      it(`sees the same under ${backend}, but for the differences listed`, () => {
        assert.equal(matrix.absent.get(backend), undefined);
        const failed = matrix.rows.flatMap(({ case: tried, outcomes }) =>
          failures(outcomes.filter((outcome) => outcome.backend === backend)).map(
            (failure) => `${tried.who} (${tried.source}) to ${tried.to}, IPv${tried.family}: ${failure}`,
          ),
        );
        assert.deepEqual(failed, []);
        assert.ok(matrix.rows.length >= 150, `${matrix.rows.length} cases`);
      });
    }

    for (const backend of ['iptables', 'withdrawn'] as const) {
      it(`is in no way different under ${backend}`, () => {
        const verdicts = matrix.rows.flatMap(({ outcomes }) =>
          outcomes.filter((outcome) => outcome.backend === backend).map(({ verdict }) => verdict),
        );
        assert.ok(verdicts.length > 0 && verdicts.every((verdict) => verdict === 'same'));
      });
    }

    it("has none of its own connections redirected a second time by the mesh's rules", () => {
      assert.equal(matrix.besideHits, 0);
    });
  });
}
