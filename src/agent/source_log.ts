/** Log lines for what the agent is given and cannot take: manifests, answers of the API server, settings. */
import type { Logger } from 'pino';
import type { Snapshot } from '../pod/files.ts';
import type { SettingsFile } from './settings_file.ts';

export function tellSettings(settings: SettingsFile, outcome: 'changed' | 'rejected', log: Logger): void {
  const { path: file, error } = settings;
  if (outcome === 'changed') log.info({ event: 'settings', file }, 'settings taken');
  else {
    log.error(
      { event: 'settings-rejected', file, ...error?.toJSON() },
      'settings not taken: the last good ones stay in force',
    );
  }
}

/** Log lines for what a source could not take, and for its recovery: once each. */
export class Rejections {
  readonly #log: Logger;
  #told = new Map<string, string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  tell(snapshot: Snapshot): void {
    const now = new Map<string, string>();
    for (const { file, error } of snapshot.rejected) {
      const key = `${file} ${error.message}`;
      now.set(key, file);
      if (this.#told.has(key)) continue;
      if (error.code.startsWith('SHUNT_E_KUBE_')) {
        this.#log.error(
          { event: 'source-failed', file, ...error.toJSON() },
          'nothing new is learnt of the pods; what is enforced stays',
        );
      } else this.#log.error({ event: 'manifest-rejected', file, ...error.toJSON() }, 'manifest not taken');
    }
    if (now.size === 0 && this.#told.size > 0) {
      this.#log.info(
        { event: 'source-recovered', files: [...new Set(this.#told.values())] },
        'all is taken again',
      );
    }
    this.#told = now;
  }
}
