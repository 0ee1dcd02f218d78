import manifest from '../package.json' with { type: 'json' };

/** Shunt's own version; the bundler inlines it. */
export const VERSION: string = manifest.version;
