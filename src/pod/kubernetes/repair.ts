/**
 * Pods whose mesh found itself not set up: their validator, an init container, ran before the pod was enrolled and gave
 * up. Once the pod is enrolled the kubelet's next try passes, after a wait that grows to five minutes; a pod that is
 * never restarted stays broken.
 */
import * as v from 'valibot';
import { ShuntError } from '../../errors.ts';
import type { PodObject } from '../workload.ts';
import type { ApiConnection } from './connection.ts';
import { KubeError } from './kube_error.ts';

interface Validator {
  container: string;
  /** With which it says that nothing redirects; null for any but 0. */
  exitCode: number | null;
  mesh: string;
}

/** Istio: tools/istio-iptables/pkg/constants; Linkerd: linkerd2-proxy-init's validator; Kuma: kuma-validation. */
const VALIDATORS: readonly Validator[] = [
  { container: 'istio-validation', exitCode: 126, mesh: 'Istio' },
  { container: 'linkerd-network-validator', exitCode: 95, mesh: 'Linkerd' },
  { container: 'kuma-validation', exitCode: null, mesh: 'Kuma' },
];

export interface ValidatorFailure {
  container: string;
  exitCode: number;
  mesh: string;
}

/** The failed validator of a pod that is not being deleted; null when none has failed, or it has passed since. */
export function validatorFailure(pod: PodObject): ValidatorFailure | null {
  if (pod.metadata.deleting === true) return null;
  for (const { container, exitCode, mesh } of VALIDATORS) {
    const state = pod.status.containers?.find(({ name }) => name === container);
    if (state === undefined || state.completed || state.exitCode === null || state.exitCode === 0) continue;
    if (exitCode === null || state.exitCode === exitCode)
      return { container, exitCode: state.exitCode, mesh };
  }
  return null;
}

/**
 * Deletes the pod, so that its controller makes another: this very one, not a namesake that came since.
 *
 * @returns false when it was gone already
 * @throws KubeError
 */
export async function deletePod(
  connection: ApiConnection,
  pod: PodObject,
  signal: AbortSignal,
): Promise<boolean> {
  const { namespace, name, uid } = pod.metadata;
  const options = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid } };
  try {
    await connection.delete(`/api/v1/namespaces/${namespace}/pods/${name}`, options, signal);
    return true;
  } catch (error) {
    // 409: another pod has its name.
    if (error instanceof KubeError && (error.status === 404 || error.status === 409)) return false;
    throw error;
  }
}

export interface PodEvent {
  pod: PodObject;
  nodeName: string;
  /** One word in upper camel case. */
  reason: string;
  message: string;
}

const created = v.object({ metadata: v.object({ name: v.string() }) });
/** Of an Event's message (core/v1 validation). */
const MAX_MESSAGE_CHARACTERS = 1024;

/**
 * Posts a warning that `kubectl describe pod` shows.
 *
 * @throws KubeError
 */
export async function postEvent(
  connection: ApiConnection,
  event: PodEvent,
  signal: AbortSignal,
): Promise<void> {
  const { pod, nodeName, reason, message } = event;
  const { namespace, name, uid } = pod.metadata;
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
  const answer = await connection.post(
    `/api/v1/namespaces/${namespace}/events`,
    {
      kind: 'Event',
      apiVersion: 'v1',
      metadata: { namespace, generateName: `${name.slice(0, 200)}.` },
      involvedObject: { kind: 'Pod', apiVersion: 'v1', namespace, name, uid },
      type: 'Warning',
      reason,
      message: message.slice(0, MAX_MESSAGE_CHARACTERS),
      source: { component: 'shunt', host: nodeName },
      reportingComponent: 'shunt.dev/agent',
      reportingInstance: nodeName,
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    },
    signal,
  );
  if (!v.is(created, answer)) {
    throw new ShuntError('SHUNT_E_KUBE_ANSWER', 'the answer is no Event', { target: connection.server });
  }
}
