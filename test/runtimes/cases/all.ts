import type { RuntimeCase } from './case.ts';
import { HTTP } from './http.ts';
import { SERVICES } from './services.ts';
import { STREAMS } from './streams.ts';

/** Every runtime, in the order of the table. */
export const CASES: readonly RuntimeCase[] = [...STREAMS, ...HTTP, ...SERVICES];
