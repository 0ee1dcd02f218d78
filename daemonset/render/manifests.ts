/** daemonset/manifests: the chart rendered for those who do without Helm. */
import { join } from 'node:path';
import { RELEASE, renderChart } from './chart.ts';
import { yamlText } from './evaluate.ts';

export const MANIFESTS = join(import.meta.dirname, '..', 'manifests');

interface Manifest {
  file: string;
  about: string;
  values: Record<string, unknown>;
  /** Kinds it holds; all where nothing is said. */
  kinds?: readonly string[];
}

const MONITORING = {
  metrics: { expose: true },
  podMonitor: { enabled: true },
  prometheusRule: { enabled: true },
  dashboard: { enabled: true },
};

const LIST: readonly Manifest[] = [
  {
    file: 'shunt.yaml',
    about: 'Everything that a node needs. Set the image first: kustomize does it, or sed.',
    values: {},
  },
  {
    file: 'monitoring.yaml',
    about: [
      'For the Prometheus operator, and a dashboard for Grafana. The DaemonSet of shunt.yaml answers on 127.0.0.1',
      'alone: give it `--metrics :15090`, and its probes no host.',
    ].join('\n'),
    values: MONITORING,
    kinds: ['PodMonitor', 'PrometheusRule', 'ConfigMap'],
  },
  {
    file: 'cleanup.yaml',
    about:
      'Takes the place of the agent and clears every node. Once it is rolled out, delete it and shunt.yaml.',
    values: { mode: 'cleanup' },
    kinds: ['DaemonSet'],
  },
  {
    file: 'openshift.yaml',
    about: 'On OpenShift, before shunt.yaml.',
    values: { openshift: { enabled: true } },
    kinds: ['SecurityContextConstraints'],
  },
];

/** Texts of the files by name, as they have to be. */
export function manifests(): Map<string, string> {
  return new Map(LIST.map((manifest) => [manifest.file, textOf(manifest)]));
}

function textOf({ about, values, kinds }: Manifest): string {
  const objects = renderChart(values, RELEASE, 'kubectl').filter((object) => isWanted(object, values, kinds));
  const comment = `${about}\nMade by \`npm run manifests\` from daemonset/chart.`.replace(/^/gm, '# ');
  return [comment, ...objects.map((object) => yamlText(object).trimEnd())].join('\n---\n').concat('\n');
}

function isWanted(
  object: object,
  values: Record<string, unknown>,
  kinds: readonly string[] | undefined,
): boolean {
  if (kinds === undefined) return true;
  if (!('kind' in object && typeof object.kind === 'string' && kinds.includes(object.kind))) return false;
  // Of the ConfigMaps only what the values added.
  return object.kind !== 'ConfigMap' || !isCore(object, values);
}

function isCore(object: object, values: Record<string, unknown>): boolean {
  return values.dashboard !== undefined && JSON.stringify(object).includes('"settings.yaml"');
}
