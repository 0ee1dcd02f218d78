import { BINDING } from './binding.ts';
import { CONNECTING } from './connecting.ts';
import { CROWD } from './crowd.ts';
import type { Item } from './item.ts';
import { LISTENING } from './listening.ts';
import { OPTIONS } from './options.ts';
import { PROCESSES } from './processes.ts';
import { PROTOCOLS } from './protocols.ts';

/** Every item, in the order in which they are told. */
export const ITEMS: readonly Item[] = [
  ...CONNECTING,
  ...BINDING,
  ...PROTOCOLS,
  ...OPTIONS,
  ...PROCESSES,
  ...LISTENING,
  ...CROWD,
];
