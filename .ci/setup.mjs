#!/usr/bin/env node
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CACHE } from './place.mjs';
import { assertKnownMachine, installPackages } from './setup/apt.mjs';
import { bundleStep } from './setup/bundle.mjs';
import { cniStep } from './setup/cni.mjs';
import { cniToolsStep } from './setup/cni-tools.mjs';
import { codecsStep } from './setup/codecs.mjs';
import { decideStep } from './setup/decide.mjs';
import { envoyStep } from './setup/envoy.mjs';
import { reclaim } from './setup/identity.mjs';
import { kubeNodeStep, kubeStep } from './setup/kube.mjs';
import { libraryStep } from './setup/library.mjs';
import { hold } from './setup/lock.mjs';
import { installNodeModules } from './setup/node-modules.mjs';
import { USES } from './setup/packages.mjs';
import { bpfStep } from './setup/programs.mjs';
import { Progress, SetupError } from './setup/progress.mjs';
import { schemasStep } from './setup/schemas.mjs';
import { Stamps } from './setup/stamps.mjs';

/**
 * One thing that set-up makes in the checkout.
 *
 * @typedef {object} Step
 * @property {string} name
 * @property {string[]} purposes that need it
 * @property {() => string} inputs hash of what it is made from
 * @property {(progress: Progress, stamps: Stamps) => Promise<string[]|undefined>} run
 *   gives the files it made, or undefined when it could not be had and set-up goes on without it
 */

/** In this order: codecs come from objects, and the bundle holds the codecs. @type {Step[]} */
const STEPS = [
  bpfStep,
  decideStep,
  cniStep,
  codecsStep,
  libraryStep,
  bundleStep,
  envoyStep,
  cniToolsStep,
  schemasStep,
  kubeStep,
  kubeNodeStep,
];

/**
 * Makes a checkout on a Debian or Ubuntu machine ready for a purpose. Quick when there is nothing to do.
 *
 * @param {keyof typeof USES} purpose
 * @throws {SetupError} when it cannot go on
 */
export async function setUp(purpose) {
  const progress = new Progress();
  assertKnownMachine(purpose);
  reclaim();
  const release = await hold(join(CACHE, 'setup.lock'), () =>
    progress.say('waiting for another set-up to end'),
  );
  try {
    const stamps = new Stamps();
    await installPackages(purpose, progress, stamps);
    await installNodeModules(progress);
    for (const step of STEPS.filter(({ purposes }) => purposes.includes(purpose))) {
      const inputs = step.inputs();
      if (stamps.current(step.name, inputs)) continue;
      const outputs = await step.run(progress, stamps);
      if (outputs !== undefined) stamps.record(step.name, inputs, outputs);
    }
  } finally {
    reclaim(); // what this run wrote as root under sudo
    await release();
  }
  for (const shortfall of progress.shortfalls) progress.say(`not available: ${shortfall}`);
  progress.say('ready');
}

/** @param {unknown} error prints what stopped set-up, and what to do about it */
export function tellFailure(error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`\nset-up stopped: ${error.message}\n\nWhat to do: ${error.fix}\n`);
  if (Progress.logged) process.stderr.write('What ran is in .cache/setup.log.\n');
  process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [flag, purpose = 'demo'] = process.argv.slice(2);
  if ((flag !== undefined && flag !== '--for') || !(purpose in USES)) {
    process.stderr.write(`usage: node .ci/setup.mjs [--for ${Object.keys(USES).join('|')}]\n`);
    process.exitCode = 2;
  } else {
    await setUp(purpose).catch(tellFailure);
  }
}
