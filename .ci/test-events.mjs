import { inspect } from 'node:util';

/**
 * A node:test reporter: one JSON line for each test that began, for each that ended, and for a suite that itself
 * failed.
 */
export default async function* events(source) {
  for await (const { type, data } of source) {
    // Told as it happens, where test:pass waits for the tests before it: shows what a hanging file hangs in.
    if (type === 'test:dequeue' || type === 'test:complete') {
      yield `${JSON.stringify({ moment: type, name: data.name, line: data.line })}\n`;
      continue;
    }
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (type === 'test:pass' && data.details?.type === 'suite') continue;
    const error = data.details?.error;
    // A test that failed only because one within it did says nothing new.
    if (error?.failureType === 'subtestsFailed') continue;
    yield `${JSON.stringify({
      name: data.name,
      line: data.line,
      outcome: outcomeOf(type, data),
      reason:
        typeof data.skip === 'string' ? data.skip : typeof data.todo === 'string' ? data.todo : undefined,
      error: type === 'test:fail' ? textOf(error?.cause ?? error) : undefined,
    })}\n`;
  }
}

/** An error with what it carries, less the lines of its stack that are Node's. */
function textOf(error) {
  const text = error?.code === 'ERR_ASSERTION' ? error.stack : inspect(error, { depth: 4, colors: false });
  return text
    .split('\n')
    .filter((line) => !/^\s+at .*\bnode:/.test(line))
    .join('\n');
}

function outcomeOf(type, data) {
  if (data.skip !== undefined && data.skip !== false) return 'skipped';
  if (data.todo !== undefined && data.todo !== false) return 'skipped';
  return type === 'test:pass' ? 'passed' : 'failed';
}
