/** Connections in pods of Istio and Linkerd: under the mesh's own rules, and under both of our backends. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import type { Backend } from './bed.ts';
import { type Matrix, runMatrix } from './matrix.ts';
import { type Family, MESHES } from './meshes.ts';
import { failures } from './table.ts';

const BACKENDS = ['iptables', 'ebpf'] as const satisfies readonly Backend[];
const FAMILIES: readonly Family[] = existsSync('/proc/sys/net/ipv6') ? [4, 6] : [4];

for (const mesh of MESHES.filter(({ name }) => name === 'istio' || name === 'linkerd')) {
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

    it('is in no way different under iptables', () => {
      const verdicts = matrix.rows.flatMap(({ outcomes }) =>
        outcomes.filter(({ backend }) => backend === 'iptables').map(({ verdict }) => verdict),
      );
      assert.ok(verdicts.every((verdict) => verdict === 'same'));
    });
  });
}
