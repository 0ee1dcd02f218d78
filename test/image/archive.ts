/** The OCI archive that `npm run image` makes, unpacked as a container runtime would. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';

const Descriptor = v.object({ digest: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)) });
const Index = v.object({ manifests: v.tuple([Descriptor]) });
const Manifest = v.object({ config: Descriptor, layers: v.array(Descriptor) });
const Config = v.object({
  config: v.object({ Env: v.array(v.string()), Entrypoint: v.array(v.string()) }),
});

export interface UnpackedImage {
  /** Its root file system. */
  rootfs: string;
  env: string[];
  entrypoint: string[];
}

/** Path of the archive, as `npm run test:image` gives it; null in other runs. */
export function imageArchive(): string | null {
  return process.env.SHUNT_TEST_IMAGE ?? null;
}

/** @param folder made anew; its layers hold no whiteouts, since no stage removes anything */
export function unpack(archive: string, folder: string): UnpackedImage {
  rmSync(folder, { recursive: true, force: true });
  const [layout, rootfs] = [join(folder, 'layout'), join(folder, 'rootfs')];
  for (const directory of [layout, rootfs]) mkdirSync(directory, { recursive: true });
  execFileSync('tar', ['-xf', archive, '-C', layout]);
  const blob = (digest: string): string => join(layout, 'blobs', digest.replace(':', '/'));
  const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
  const index = v.parse(Index, read(join(layout, 'index.json')));
  const manifest = v.parse(Manifest, read(blob(index.manifests[0].digest)));
  for (const { digest } of manifest.layers) {
    execFileSync('tar', ['-xzf', blob(digest), '-C', rootfs, '--same-owner']);
  }
  const { Env, Entrypoint } = v.parse(Config, read(blob(manifest.config.digest))).config;
  return { rootfs, env: Env, entrypoint: Entrypoint };
}
