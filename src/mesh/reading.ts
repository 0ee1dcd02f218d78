/** Reads a pod's settings one by one, and gathers what the mesh would refuse and what it passes over. */
import type { ContainerSpec, PodObject } from '../pod/workload.ts';
import { normalPolicy } from '../policy/json.ts';
import type { RedirectPolicy } from '../policy/policy.ts';
import { policyProblems } from '../policy/validate.ts';
import { clip, type Parsed } from './annotation_list.ts';
import type { PolicyNote, Recognition } from './profile.ts';
import { accelerationWanted } from './shunt_annotation.ts';

/** Of each kind. A list of a megabyte may have a hundred thousand slips, and the first ones say what is wrong. */
const MAX_NOTES = 20;

export class Reading {
  readonly rejected: PolicyNote[] = [];
  readonly notes: PolicyNote[] = [];
  readonly #mesh: string;

  /** @param mesh its name in messages: Linkerd */
  constructor(mesh: string) {
    this.#mesh = mesh;
  }

  /** The value, or, where there is none or the mesh refuses it, what stands instead. */
  take<T>(
    name: string,
    text: string | undefined,
    parse: (text: string) => Parsed<T>,
    instead: NoInfer<T>,
  ): T {
    if (text === undefined) return instead;
    const parsed = parse(text);
    if (parsed.ok) return parsed.value;
    this.reject(name, text, parsed.problem);
    return instead;
  }

  reject(name: string, value: string, problem: string): void {
    if (this.rejected.length >= MAX_NOTES) return;
    const message = `${problem}, so ${this.#mesh} refuses the pod`;
    this.rejected.push({ annotation: name, value: clip(value), message });
  }

  note(name: string, value: string, message: string): void {
    if (this.notes.length >= MAX_NOTES) return;
    this.notes.push({ annotation: name, value: clip(value), message });
  }

  /** What comes of it all: the policy, or every value that the mesh refuses. */
  finish(pod: PodObject, sidecarContainer: string, policy: RedirectPolicy): Recognition {
    if (this.rejected.length > 0) return { kind: 'reject', notes: this.rejected };
    const normal = normalPolicy(policy);
    const problems = policyProblems(normal);
    if (problems.length > 0) {
      const notes = problems.map((message) => ({
        annotation: `policy of ${policy.mesh}`,
        value: '',
        message,
      }));
      return { kind: 'reject', notes };
    }
    const byDefault = READ_TO_THE_END.includes(policy.mesh) ? 'auto' : 'off';
    const { acceleration, notes } = accelerationWanted(pod, byDefault);
    return {
      kind: 'redirect',
      policy: normal,
      sidecarContainer,
      acceleration,
      notes: [...this.notes, ...notes],
    };
  }
}

/** Meshes whose sidecar is Envoy, which reads until there is nothing. Tokio (Linkerd) takes a short read for the last. */
const READ_TO_THE_END: readonly string[] = ['istio', 'kuma', 'consul', 'osm', 'appmesh'];

/** A container by its name, init containers (native sidecars) before the others. */
export function containerOf(pod: PodObject, ...names: string[]): ContainerSpec | null {
  const all = [...pod.spec.initContainers, ...pod.spec.containers];
  return all.find(({ name }) => names.includes(name)) ?? null;
}

export function leave(reason: string): Recognition {
  return { kind: 'leave', reason };
}

/** Options of a command line: `--name value`, `--name=value`, `--switch`. A name that stands twice has two values. */
export function longOptions(args: readonly string[]): Map<string, string[]> {
  const options = new Map<string, string[]>();
  for (let at = 0; at < args.length; at++) {
    const split = /^--([a-z0-9-]+)(?:=(.*))?$/s.exec(args[at] ?? '');
    if (split === null) continue;
    const [, name = '', attached] = split;
    const next = args[at + 1];
    const separate = attached === undefined && next !== undefined && !next.startsWith('--');
    if (separate) at++;
    options.set(name, [...(options.get(name) ?? []), attached ?? (separate ? (next ?? '') : 'true')]);
  }
  return options;
}
