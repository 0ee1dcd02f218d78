/** Kernel and libbpf errors in the catalogue's words. */
import { BpfError } from 'libbpf-ts';
import { ShuntError } from '../../errors.ts';

/** Last lines of a verifier log that are shown; the whole log stays on the cause. */
const SHOWN_LOG_LINES = 8;

/**
 * What a failed load means to a person.
 *
 * @param target the object file
 */
export function loadError(error: unknown, target: string): Error {
  if (!(error instanceof BpfError)) return error instanceof Error ? error : new Error(String(error));
  const options = { target, cause: error };
  switch (error.code) {
    case 'LIBBPF_MISSING':
    case 'LIBBPF_TOO_OLD':
      return new ShuntError('SHUNT_E_LIBBPF', error.message, options);
    case 'EPERM':
      return new ShuntError('SHUNT_E_BPF_DENIED', error.message, options);
    default: {
      const log = error.log === undefined ? '' : `\n${error.log.tail(SHOWN_LOG_LINES)}`;
      const fix = error.hint === undefined ? {} : { fix: error.hint };
      return new ShuntError('SHUNT_E_LOAD', `${error.message}${log}`, { ...options, ...fix });
    }
  }
}

/** @param target what the operation was on: a pod, a link */
export function operationError(error: unknown, target: string): Error {
  if (!(error instanceof BpfError)) return error instanceof Error ? error : new Error(String(error));
  if (['E2BIG', 'ENOSPC', 'ENOMEM'].includes(error.code)) {
    return new ShuntError('SHUNT_E_MAP_FULL', error.message, { target, cause: error });
  }
  if (error.code === 'EPERM')
    return new ShuntError('SHUNT_E_BPF_DENIED', error.message, { target, cause: error });
  const fix = error.hint === undefined ? {} : { fix: error.hint };
  return new ShuntError('SHUNT_E_DATAPATH', error.message, { target, cause: error, ...fix });
}
