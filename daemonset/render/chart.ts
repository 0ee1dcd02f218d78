/** The chart in daemonset/chart, rendered as `helm template` renders it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { documentsOf, Evaluator } from './evaluate.ts';
import { parseTemplate } from './template.ts';

export const CHART = join(import.meta.dirname, '..', 'chart');

export interface Release {
  name: string;
  namespace: string;
  /** As `helm template --kube-version`. */
  kubeVersion: string;
}

/** What daemonset/manifests is made for. */
export const RELEASE: Release = { name: 'shunt', namespace: 'kube-system', kubeVersion: 'v1.34.0' };

type Mapping = Record<string, unknown>;

/**
 * Every object of the chart, in the order of its files.
 *
 * @param values over those of values.yaml, mappings merged
 * @param service what `.Release.Service` says: who manages the objects
 * @throws TemplateError
 */
export function renderChart(values: Mapping, release: Release = RELEASE, service = 'Helm'): object[] {
  const folder = join(CHART, 'templates');
  const names = readdirSync(folder).sort();
  const templates = new Map(
    names.map((name) => [name, parseTemplate(name, readFileSync(join(folder, name), 'utf8'))]),
  );
  const evaluator = new Evaluator(templates, (path) => readFileSync(join(CHART, path), 'utf8'));
  const root = {
    Values: chartValues(values),
    Chart: chartOf(),
    Release: { Name: release.name, Namespace: release.namespace, Service: service },
    Capabilities: { KubeVersion: { Version: release.kubeVersion } },
  };
  return [...templates]
    .filter(([name]) => name.endsWith('.yaml'))
    .flatMap(([name, template]) => documentsOf(name, evaluator.render(name, template, root)));
}

/** values.yaml with others over it. */
export function chartValues(values: Mapping): Mapping {
  return merged(mappingOf('values.yaml'), values);
}

function chartOf(): object {
  const { name, version, appVersion } = mappingOf('Chart.yaml');
  return { Name: name, Version: version, AppVersion: appVersion };
}

/** @throws Error when it is no mapping */
export function mappingOf(name: string): Mapping {
  const value: unknown = parse(readFileSync(join(CHART, name), 'utf8'));
  if (!isMapping(value)) throw new Error(`${name} is no mapping`);
  return value;
}

/** Helm's rule: mappings are merged, everything else is replaced. */
function merged(base: Mapping, over: Mapping): Mapping {
  const result = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = base[key];
    result[key] = isMapping(below) && isMapping(value) ? merged(below, value) : value;
  }
  return result;
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
