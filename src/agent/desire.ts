/** What is wanted for one pod: from its manifest to a workload, or the reason why not. */
import { ShuntError } from '../errors.ts';
import type { PolicyNote, ProfileContext } from '../mesh/profile.ts';
import { MESH_PROFILES, recognise } from '../mesh/recognise.ts';
import { type BackendWish, backendWanted } from '../mesh/shunt_annotation.ts';
import { BY_ANNOTATION, type Locate, locateWorkload, podName } from '../pod/locate.ts';
import type { PodName, PodObject, Workload } from '../pod/workload.ts';

export type Desire =
  | { kind: 'enroll'; name: PodName; workload: Workload; backend: BackendWish | null; notes: PolicyNote[] }
  | { kind: 'leave'; name: PodName; reason: string }
  | { kind: 'failed'; name: PodName; error: ShuntError; notes: PolicyNote[] };

/** Looks at the mesh's rules and at the node. Never throws a ShuntError: it becomes the pod's state. */
export function desireOf(
  pod: PodObject,
  context: ProfileContext = {},
  locate: Locate = BY_ANNOTATION.locate,
): Desire {
  const name = podName(pod);
  const { phase } = pod.status;
  // Every container has ended for good, and the sandbox with them.
  if (phase === 'Succeeded' || phase === 'Failed')
    return { kind: 'leave', name, reason: `it has ended: ${phase}` };
  const recognition = recognise(pod, MESH_PROFILES, context);
  switch (recognition.kind) {
    case 'leave':
      return { kind: 'leave', name, reason: recognition.reason };
    case 'reject': {
      const detail = recognition.notes.map(
        (note) => `${note.annotation}=${JSON.stringify(note.value)}: ${note.message}`,
      );
      const error = new ShuntError('SHUNT_E_MESH_REJECTED', detail.join('; '), { target: labelOf(name) });
      return { kind: 'failed', name, error, notes: recognition.notes };
    }
    case 'redirect': {
      const { backend, notes: own } = backendWanted(pod);
      const notes = [...recognition.notes, ...own];
      try {
        return { kind: 'enroll', name, workload: locateWorkload(pod, recognition, locate), backend, notes };
      } catch (error) {
        if (!(error instanceof ShuntError)) throw error;
        return { kind: 'failed', name, error, notes };
      }
    }
  }
}

export function labelOf(name: PodName): string {
  return `${name.namespace}/${name.name}`;
}

/** What is wrong with the pod's annotations. */
export function notesOf(desire: Desire): readonly PolicyNote[] {
  return desire.kind === 'leave' ? [] : desire.notes;
}

/** Whether the mesh itself would not have the pod for its annotations. */
export function isRejected(desire: Desire): boolean {
  return desire.kind === 'failed' && desire.error.code === 'SHUNT_E_MESH_REJECTED';
}
