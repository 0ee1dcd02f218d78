/** A span as kubectl writes it: 42s, 5m12s, 3h7m, 2d4h. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const pair = (large: number, largeUnit: string, small: number, smallUnit: string) =>
    small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
  if (minutes === 0) return `${seconds}s`;
  if (hours === 0) return pair(minutes, 'm', seconds % 60, 's');
  if (days === 0) return pair(hours, 'h', minutes % 60, 'm');
  return pair(days, 'd', hours % 24, 'h');
}
