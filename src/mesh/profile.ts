import type { PodObject } from '../pod/workload.ts';
import type { Acceleration, RedirectPolicy } from '../policy/policy.ts';
import type { MeshSettings } from './settings.ts';

/** A value of the pod that was not taken as it stands; becomes a log line and an event. */
export interface PolicyNote {
  annotation: string;
  value: string;
  /** What is wrong with it and what was done instead. */
  message: string;
}

/** What a mesh profile says of a pod. */
export type Recognition =
  | {
      kind: 'redirect';
      policy: RedirectPolicy;
      sidecarContainer: string;
      acceleration: Acceleration;
      notes: PolicyNote[];
    }
  /** To be left alone; the reason is shown to people. */
  | { kind: 'leave'; reason: string }
  /** A value that the mesh itself rejects: nothing is done to the pod, and the error names annotation and value. */
  | { kind: 'reject'; notes: PolicyNote[] };

/** What the Pod object does not say and its rules depend on. */
export interface ProfileContext {
  /** The pod's namespace, where a source knows it. */
  namespace?: NamespaceObject;
  settings?: MeshSettings;
  /** Servers that the node writes into a pod's resolv.conf; asked only where a mesh needs them. */
  nameservers?(pod: PodObject): readonly string[];
}

export interface NamespaceObject {
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

/** One mesh: a pure function of the Pod object. Null when the pod is not of this mesh. */
export interface MeshProfile {
  name: string;
  recognise(pod: PodObject, context?: ProfileContext): Recognition | null;
  /** Whether what it says of a pod of its own may differ with the namespace's marks; they are not watched for others. */
  needsNamespace?(pod: PodObject): boolean;
}
