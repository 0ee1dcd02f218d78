#!/usr/bin/env node
/** Prints the tier that an agent would have on the kernel that runs this, as one line of JSON. */
import { probeTier } from '../../src/datapath/ebpf/self_test.ts';

process.stdout.write(`${JSON.stringify(await probeTier())}\n`);
