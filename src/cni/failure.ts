/** A failed call as the runtime is told of it. */
import { type ErrorCode, errorReport, ShuntError } from '../errors.ts';
import { CNI_VERSIONS, NEWEST_VERSION } from './call.ts';

/** Codes of the CNI specification, section "Error"; from 100 on they are the plugin's own. */
const CODES: Partial<Record<ErrorCode, number>> = {
  SHUNT_E_CNI_VARIABLES: 4,
  SHUNT_E_NETNS_MISSING: 4,
  SHUNT_E_NETNS_NOT_NETNS: 4,
  SHUNT_E_NETNS_HOST: 4,
  SHUNT_E_CNI_REQUEST: 6,
  SHUNT_E_CNI_CONFIG: 7,
  SHUNT_E_CNI_POD_UNKNOWN: 11,
  SHUNT_E_AGENT_SLOW: 11,
  SHUNT_E_CNI_NOT_READY: 50,
  SHUNT_E_CNI_NOT_ENROLLED: 101,
};
const OWN = 100;

export interface CniFailure {
  /** Of the CNI specification. */
  code: number;
  /** Of our catalogue, for the log. */
  reason: string;
  message: string;
  /** The error as CNI writes it. */
  text: string;
}

/** @param stdin the network configuration, for the version that the error is to be written in */
export function cniFailure(error: unknown, stdin: string): CniFailure {
  const { code: reason, message, fix } = errorReport(error);
  const code = (error instanceof ShuntError ? CODES[error.code] : undefined) ?? OWN;
  const text = `${JSON.stringify({
    cniVersion: versionOf(stdin),
    code,
    msg: `shunt: ${message} [${reason}]`,
    details: fix,
  })}\n`;
  return { code, reason, message, text };
}

function versionOf(stdin: string): string {
  const found = /"cniVersion"\s*:\s*"([0-9.]+)"/.exec(stdin)?.[1];
  return CNI_VERSIONS.find((version) => version === found) ?? NEWEST_VERSION;
}
