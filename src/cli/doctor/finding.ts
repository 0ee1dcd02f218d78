/** What one check says: its level, what was seen, and for anything but ok the one thing to do. */
export interface Finding {
  check: string;
  level: 'ok' | 'warn' | 'fail';
  detail: string;
  fix: string | null;
}

export type Judgement = Omit<Finding, 'check'>;

export const ok = (detail: string): Judgement => ({ level: 'ok', detail, fix: null });
export const warn = (detail: string, fix: string): Judgement => ({ level: 'warn', detail, fix });
export const fail = (detail: string, fix: string): Judgement => ({ level: 'fail', detail, fix });
