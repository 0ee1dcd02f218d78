import { readSettings } from '../agent/settings_file.ts';
import { ShuntError } from '../errors.ts';
import type { ProfileContext } from '../mesh/profile.ts';

/**
 * What the pods of a file are recognised with: the settings given, and nothing of this node.
 *
 * @throws SHUNT_E_USAGE for settings without a file of pods, SHUNT_E_FILE, SHUNT_E_SETTINGS
 */
export function profileContext(config: string | undefined, file: string | undefined): ProfileContext {
  if (config === undefined) return {};
  if (file === undefined) {
    throw new ShuntError('SHUNT_E_USAGE', '--config is for -f: an agent has its own settings', {
      fix: 'leave --config out, or name the pod with -f FILE',
    });
  }
  return { settings: readSettings(config) };
}
