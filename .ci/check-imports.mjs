#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { pathToFileURL } from 'node:url';
import { importsOf, resolveImport, sourceFiles } from './imports.mjs';
import { at } from './place.mjs';

/*
 * Imports run one way: cli -> agent -> (pod, mesh, policy, datapath, cni, observe). A layer may import itself, the
 * layers in `may`, and those in `types` with `import type` only; of the packages in CONFINED only those in
 * `packages`. A file belongs to the layer with the longest matching path; its tests (x.test.ts) may also use the
 * test bed, the fixtures and, in a pure layer, the file system.
 */
const COMMON = ['errors', 'version', 'package-root', 'unix-socket'];
export const LAYERS = [
  { name: 'errors', paths: ['src/errors.ts'], may: [] },
  { name: 'version', paths: ['src/version.ts'], may: [] },
  { name: 'package-root', paths: ['src/package_root.ts'], may: [] },
  { name: 'unix-socket', paths: ['src/unix_socket.ts'], may: ['errors'] },
  { name: 'libbpf-ts', paths: ['native/libbpf-ts/'], may: [], packages: ['koffi'] },
  { name: 'policy', paths: ['src/policy/'], may: ['errors'], pure: true },
  { name: 'mesh', paths: ['src/mesh/'], may: ['errors', 'policy'], types: ['pod'], pure: true },
  {
    name: 'pod',
    paths: ['src/pod/'],
    may: [...COMMON, 'policy'],
    types: ['mesh'],
    packages: ['koffi', '@kubernetes/client-node'],
  },
  {
    name: 'observe',
    paths: ['src/observe/'],
    may: [...COMMON, 'policy'],
    types: ['pod', 'datapath'],
    packages: ['pino', 'prom-client'],
  },
  { name: 'datapath', paths: ['src/datapath/'], may: [...COMMON, 'policy', 'pod', 'observe'] },
  {
    name: 'ebpf',
    paths: ['src/datapath/ebpf/'],
    may: [...COMMON, 'policy', 'pod', 'observe', 'datapath', 'libbpf-ts'],
    packages: ['koffi'], // the canary's sockets
  },
  {
    name: 'cni',
    paths: ['src/cni/'],
    may: [...COMMON, 'policy', 'mesh', 'pod', 'observe'],
    types: ['datapath'],
  },
  {
    name: 'agent',
    paths: ['src/agent/'],
    may: [...COMMON, 'policy', 'mesh', 'pod', 'observe', 'datapath', 'ebpf', 'cni'],
    packages: ['pino', 'koffi'], // flock(2), which Node lacks
  },
  {
    name: 'cli',
    paths: ['src/cli/'],
    may: [...COMMON, 'policy', 'mesh', 'pod', 'observe', 'datapath', 'ebpf', 'cni', 'agent', 'demo'],
    packages: ['commander', 'pino'],
  },
  {
    name: 'demo',
    paths: ['src/cli/demo', 'src/cli/bench'],
    may: [...COMMON, 'policy', 'mesh', 'pod', 'observe', 'datapath', 'ebpf', 'agent', 'cli', 'lab'],
  },
  { name: 'lab', paths: ['src/lab/'], may: [...COMMON, 'policy', 'mesh', 'pod'] },
  { name: 'test', paths: ['test/'], may: '*', packages: '*' },
  { name: 'bench', paths: ['bench/'], may: '*', packages: '*' },
  { name: 'vm', paths: ['vagrant/'], may: ['errors'] },
  { name: 'daemonset', paths: ['daemonset/'], may: [] },
];

/** Packages that only the layers naming them may import. */
const CONFINED = ['koffi', 'commander', 'pino', 'prom-client', '@kubernetes/client-node'];
/** What tests beside the code may use besides their layer's own. */
const FOR_TESTS = ['lab', 'test', 'agent', 'ebpf', 'libbpf-ts', 'version'];
/** Built-in modules that only compute; of node:net these names do. */
const PURE_BUILTINS = ['node:util', 'node:path', 'node:url', 'node:buffer', 'node:crypto', 'node:assert'];
const PURE_OF_NET = ['isIP', 'isIPv4', 'isIPv6', 'BlockList', 'SocketAddress'];

/** @param {string} file by path below the checkout */
export function layerOf(file) {
  const matches = LAYERS.flatMap((layer) => layer.paths.map((path) => ({ layer, path })));
  const fitting = matches.filter(({ path }) => file.startsWith(path));
  return fitting.sort((a, b) => b.path.length - a.path.length)[0]?.layer;
}

/**
 * @param {string} file importing, by path below the checkout
 * @param {string} source its text
 * @returns {string[]} `file:line: rule` for every import against the direction
 */
export function faultsOf(file, source) {
  const layer = layerOf(file);
  if (layer === undefined) return [`${file}:1: lies in no layer; add it to LAYERS in .ci/check-imports.mjs`];
  const isTest = file.endsWith('.test.ts');
  const faults = importsOf(source).map((found) => {
    const rule = brokenRule(layer, isTest, file, found);
    return rule && `${file}:${found.line}: ${found.specifier}: ${rule}`;
  });
  return faults.filter(Boolean);
}

function brokenRule(layer, isTest, file, { specifier, typeOnly, names }) {
  const target = resolveImport(file, specifier);
  if (target === undefined) return brokenPackageRule(layer, isTest, specifier, typeOnly, names);
  if (!target.endsWith('.ts')) return undefined; // package.json and other data
  const wanted = layerOf(target);
  if (wanted === undefined) return 'leads out of every layer';
  if (wanted.name === 'libbpf-ts' && layer.name !== 'libbpf-ts' && specifier !== 'libbpf-ts') {
    return "libbpf-ts is a package: import it as 'libbpf-ts'";
  }
  if (layer === wanted || layer.may === '*' || layer.may.includes(wanted.name)) return undefined;
  if (layer.types?.includes(wanted.name)) {
    return typeOnly || isTest
      ? undefined
      : `${layer.name} takes only types from ${wanted.name}: use import type`;
  }
  if (isTest && layer.name !== 'libbpf-ts' && FOR_TESTS.includes(wanted.name)) return undefined;
  if (layer.name === 'libbpf-ts') return 'libbpf-ts imports nothing of ours';
  if (wanted.name === 'libbpf-ts') return 'only src/datapath/ebpf imports libbpf-ts';
  if (wanted.name === 'lab')
    return 'only src/cli/demo, src/cli/bench, tests and benchmarks import the test bed (src/lab)';
  return `${layer.name} may import ${layer.may.join(', ') || 'nothing of ours'}, not ${wanted.name}`;
}

function brokenPackageRule(layer, isTest, specifier, typeOnly, names) {
  if (isBuiltin(specifier)) {
    if (!specifier.startsWith('node:')) return `write node:${specifier}`;
    if (!layer.pure || isTest || typeOnly || PURE_BUILTINS.includes(specifier)) return undefined;
    const onlyComputes = names.length > 0 && names.every((name) => PURE_OF_NET.includes(name));
    if (specifier === 'node:net' && onlyComputes) return undefined;
    return `${layer.name} does no I/O`;
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  if (!declaredPackages(layer).includes(name)) return 'is in no package.json';
  if (!CONFINED.includes(name) || isTest || layer.packages === '*' || layer.packages?.includes(name))
    return undefined;
  const layers = LAYERS.filter(({ packages }) => packages?.includes(name)).map((owner) => owner.name);
  return `only ${layers.join(' and ')} may import ${name}`;
}

function declaredPackages(layer) {
  const own =
    layer.name === 'libbpf-ts' ? ['native/libbpf-ts/package.json', 'package.json'] : ['package.json'];
  const manifests = own.map((file) => JSON.parse(readFileSync(at(file), 'utf8')));
  // The library's tests use the workspace's development packages; its code only its own.
  return manifests.flatMap((manifest, i) => [
    ...(i === 0 ? Object.keys(manifest.dependencies ?? {}) : []),
    ...Object.keys(manifest.devDependencies ?? {}),
  ]);
}

/** @returns {string[]} every fault of the checkout */
export function checkImports() {
  return sourceFiles().flatMap((file) => faultsOf(file, readFileSync(at(file), 'utf8')));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const faults = checkImports();
  for (const fault of faults) process.stdout.write(`${fault}\n`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
