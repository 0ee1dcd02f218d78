import { everything } from './gen/everything.ts';
import { objectFile } from './objects.ts';

/** test/bpf/everything.bpf.c in the kernel, with its settings as they are. */
export async function loadEverything() {
  using open = everything.open({ file: objectFile('everything') });
  return await open.load();
}
