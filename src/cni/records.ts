/** What the agent keeps beside the plugin's socket. It outlives the agent, and goes with a reboot or the plugin. */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface RecordDirectories {
  /** Of attachments: which sandbox is a pod's. */
  attachments: string;
  /** Of marks: which pods are left alone. */
  left: string;
}

/** @param socket that the plugin calls */
export function recordDirectories(socket: string): RecordDirectories {
  const directory = dirname(socket);
  return { attachments: join(directory, 'attachments'), left: join(directory, 'left') };
}

/** Takes them away, and the socket; nobody may be listening on it. */
export function removeRecords(socket: string): void {
  const { attachments, left } = recordDirectories(socket);
  for (const path of [attachments, left, socket]) rmSync(path, { recursive: true, force: true });
}
