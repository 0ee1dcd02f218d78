/**
 * As much of the Container Runtime Interface (v1) as these tests call, over node:http2 and by hand: field numbers are
 * those of api.proto.
 */
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';

type Field = [number: number, value: string | number | Buffer];

/** Protocol Buffers, wire types 0 and 2. */
function message(...fields: Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'number') return [varint(number << 3), varint(value)];
      const bytes = Buffer.from(value);
      return [varint((number << 3) | 2), varint(bytes.length), bytes];
    }),
  );
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** Fields of a message by number; of nested messages and strings the bytes. */
function fieldsOf(bytes: Buffer): Map<number, (Buffer | number)[]> {
  const fields = new Map<number, (Buffer | number)[]>();
  let at = 0;
  const next = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = next();
    const wire = tag & 7;
    if (wire !== 0 && wire !== 2) throw new Error(`wire type ${wire} is not used by CRI here`);
    let value: Buffer | number = next();
    if (wire === 2) {
      const end: number = at + value;
      value = bytes.subarray(at, end);
      at = end;
    }
    const number = tag >> 3;
    fields.set(number, [...(fields.get(number) ?? []), value]);
  }
  return fields;
}

function bytesOf(message: Buffer, number: number): Buffer {
  const value = fieldsOf(message).get(number)?.[0];
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}

export interface SandboxConfig {
  name: string;
  /** Default `default`. */
  namespace?: string;
  uid: string;
  /** Absolute in every hierarchy. */
  cgroupParent: string;
  logDirectory: string;
}

export interface ContainerConfig {
  name: string;
  image: string;
  /** In place of the image's entrypoint. */
  command?: readonly string[];
  args: readonly string[];
  uid: number;
  gid?: number;
  /** Directories of the host. */
  mounts?: readonly { source: string; destination: string; readOnly: boolean }[];
}

/** CONTAINER of NamespaceMode; the pod's network is POD, 0. */
const OWN_PIDS: Field[] = [[2, 1]];

function sandboxConfig(config: SandboxConfig): Buffer {
  const { name, namespace = 'default', uid, cgroupParent, logDirectory } = config;
  const metadata = message([1, name], [2, uid], [3, namespace]);
  const security = message([1, message(...OWN_PIDS)]);
  return message(
    [1, metadata],
    [2, name],
    [3, logDirectory],
    [4, message([1, '127.0.0.1'])],
    [8, message([1, cgroupParent], [2, security])],
  );
}

export class Cri {
  readonly #socket: string;

  /** @param socket containerd's */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** True when the runtime has a network configuration. */
  async networkReady(): Promise<boolean> {
    const status = bytesOf(await this.#call('Status', message()), 1);
    const conditions = fieldsOf(status).get(1) ?? [];
    return conditions.some(
      (condition) =>
        Buffer.isBuffer(condition) &&
        bytesOf(condition, 1).toString() === 'NetworkReady' &&
        fieldsOf(condition).get(2)?.[0] === 1,
    );
  }

  /** @returns id of the sandbox */
  async runPodSandbox(config: SandboxConfig): Promise<string> {
    return bytesOf(await this.#call('RunPodSandbox', message([1, sandboxConfig(config)])), 1).toString();
  }

  /**
   * Creates and starts a container; its output goes to `<logDirectory>/<name>.log`.
   *
   * @returns its id
   */
  async run(sandbox: string, config: SandboxConfig, container: ContainerConfig): Promise<string> {
    const { command = [], mounts = [], uid, gid } = container;
    const group: Field[] = gid === undefined ? [] : [[12, message([1, gid])]];
    const security = message([3, message(...OWN_PIDS)], [5, message([1, uid])], ...group);
    const created = await this.#call(
      'CreateContainer',
      message(
        [1, sandbox],
        [
          2,
          message(
            [1, message([1, container.name])],
            [2, message([1, container.image])],
            ...command.map((word): Field => [3, word]),
            ...container.args.map((arg): Field => [4, arg]),
            ...mounts.map(
              ({ source, destination, readOnly }): Field => [
                7,
                message([1, destination], [2, source], [3, readOnly ? 1 : 0]),
              ],
            ),
            [11, `${container.name}.log`],
            [15, message([2, security])],
          ),
        ],
        [3, sandboxConfig(config)],
      ),
    );
    const id = bytesOf(created, 1);
    await this.#call('StartContainer', message([1, id]));
    return id.toString();
  }

  /** Path of the sandbox's network namespace. */
  async netns(sandbox: string): Promise<string> {
    const answer = await this.#call('PodSandboxStatus', message([1, sandbox], [2, 1]));
    const found = /"type":\s*"network",\s*"path":\s*"([^"]+)"/.exec(answer.toString('utf8'))?.[1];
    if (found === undefined) throw new Error('the sandbox tells no network namespace');
    return found;
  }

  /** The address that the chain gave the sandbox. */
  async address(sandbox: string): Promise<string> {
    const status = bytesOf(await this.#call('PodSandboxStatus', message([1, sandbox])), 1);
    return bytesOf(bytesOf(status, 5), 1).toString();
  }

  /** Ids of all sandboxes. */
  async sandboxes(): Promise<string[]> {
    const items = fieldsOf(await this.#call('ListPodSandbox', message())).get(1) ?? [];
    return items.flatMap((item) => (Buffer.isBuffer(item) ? [bytesOf(item, 1).toString()] : []));
  }

  async stopPodSandbox(sandbox: string): Promise<void> {
    await this.#call('StopPodSandbox', message([1, sandbox]));
  }

  async removePodSandbox(sandbox: string): Promise<void> {
    await this.#call('RemovePodSandbox', message([1, sandbox]));
  }

  /** @throws Error with what the runtime said */
  async #call(method: string, request: Buffer): Promise<Buffer> {
    const session = connectHttp2('http://localhost', { createConnection: () => connect(this.#socket) });
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        session.once('error', reject);
        const stream = session.request({
          ':method': 'POST',
          ':path': `/runtime.v1.RuntimeService/${method}`,
          'content-type': 'application/grpc',
          te: 'trailers',
        });
        const chunks: Buffer[] = [];
        let status = '';
        const take = (headers: Record<string, unknown>) => {
          if (headers['grpc-status'] !== undefined && headers['grpc-status'] !== '0')
            status = decodeURIComponent(String(headers['grpc-message'] ?? headers['grpc-status']));
        };
        stream.on('response', take);
        stream.on('trailers', take);
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.once('error', reject);
        stream.once('end', () => {
          // Five bytes come before the message: not compressed, its length.
          if (status === '') resolve(Buffer.concat(chunks).subarray(5));
          else reject(new Error(`${method}: ${status}`));
        });
        stream.end(Buffer.concat([Buffer.from([0]), uint32(request.length), request]));
      });
    } finally {
      session.close();
    }
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
