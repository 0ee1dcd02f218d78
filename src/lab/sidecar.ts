import { closeSync, fchownSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AccessLog, type AccessRecord } from './access_log.ts';
import type { Argv } from './command.ts';
import { ENVOY } from './envoy.ts';
import { HAPROXY } from './haproxy.ts';
import { INBOUND_PORT, OUTBOUND_PORT, SIDECAR_GID, SIDECAR_UID } from './istio.ts';
import { listening } from './listening.ts';
import { LabProcess, type Place } from './process.ts';

export type SidecarKind = 'envoy' | 'haproxy';

export interface SidecarFiles {
  configFile: string;
  accessLogFile: string;
  ip6: boolean;
}

/** One proxy program that can do a sidecar's duty. */
export interface SidecarProgram {
  kind: SidecarKind;
  /** Path of the program. @throws SHUNT_E_LAB_TOOL when it is nowhere */
  locate(): string;
  config(files: SidecarFiles): string;
  argv(program: string, files: SidecarFiles): Argv;
  /** What a pod says to Shunt that has it for a sidecar, unless it says otherwise. */
  annotations?: Readonly<Record<string, string>>;
  /** A file of src/lab/native to load into it for IPv6. */
  preload6?: string;
  /** Its access log goes to standard output. */
  logsToStdout: boolean;
  parse(line: string): AccessRecord | null;
}

export const SIDECARS: Record<SidecarKind, SidecarProgram> = { envoy: ENVOY, haproxy: HAPROXY };

/** A pod's sidecar: it may be stopped and started again at the same place. */
export class Sidecar implements AsyncDisposable {
  readonly kind: SidecarKind;
  readonly accessLog: AccessLog;
  readonly #name: string;
  readonly #argv: Argv;
  readonly #place: Place;
  readonly #logFile: string;
  readonly #ip6: boolean;
  #process: LabProcess | null = null;

  /**
   * @param options.folder takes its configuration and logs; readable by its uid
   * @param options.program path of the proxy that its uid can run
   * @param options.preload shared object to load into it
   */
  constructor(
    kind: SidecarKind,
    options: {
      pod: string;
      folder: string;
      program: string;
      preload: string | null;
      place: Place;
      ip6: boolean;
    },
  ) {
    const program = SIDECARS[kind];
    this.kind = kind;
    this.#name = `${kind} of pod ${options.pod}`;
    this.#place = options.place;
    this.#ip6 = options.ip6;
    this.#logFile = join(options.folder, `${options.pod}-${kind}.log`);
    const files: SidecarFiles = {
      configFile: join(options.folder, `${options.pod}-${kind}.conf`),
      accessLogFile: program.logsToStdout ? this.#logFile : join(options.folder, `${options.pod}-access.log`),
      ip6: options.ip6,
    };
    writeFileSync(files.configFile, program.config(files), { mode: 0o644 });
    const log = openSync(files.accessLogFile, 'a', 0o644);
    fchownSync(log, SIDECAR_UID, SIDECAR_GID);
    closeSync(log);
    this.accessLog = new AccessLog(files.accessLogFile, program.parse);
    const argv = program.argv(options.program, files);
    this.#argv = options.preload === null ? argv : ['env', `LD_PRELOAD=${options.preload}`, ...argv];
  }

  /** Null while it is stopped. */
  get pid(): number | null {
    return this.#process?.running === true ? this.#process.pid : null;
  }

  /** Starts it and waits until it listens. */
  async start(signal?: AbortSignal): Promise<void> {
    this.accessLog.startOver();
    this.#process = await LabProcess.start(this.#name, this.#argv, {
      place: this.#place,
      logFile: this.#logFile,
    });
    await listening(this.#process, [OUTBOUND_PORT, INBOUND_PORT], { ip6: this.#ip6 }, signal);
  }

  async stop(): Promise<void> {
    await this.#process?.stop('SIGTERM');
    this.#process = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process?.[Symbol.asyncDispose]();
  }
}
