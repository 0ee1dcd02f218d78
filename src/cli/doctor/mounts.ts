/** One mount of this process's mount namespace. */
export interface Mount {
  point: string;
  type: string;
  readOnly: boolean;
}

/**
 * Reads /proc/self/mountinfo (proc_pid_mountinfo(5)). Blanks in paths stand as octal escapes there.
 *
 * @param text the file's content
 */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [front, back] = line.split(' - ');
    const point = front?.split(' ')[4];
    const options = front?.split(' ')[5];
    const type = back?.split(' ')[0];
    if (point === undefined || options === undefined || type === undefined) return [];
    const path = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    return [{ point: path, type, readOnly: options.split(',').includes('ro') }];
  });
}

/** The mount that holds a path: the deepest one above it, and of several on one point the last. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | undefined {
  const above = mounts.filter(({ point }) => point === '/' || path === point || path.startsWith(`${point}/`));
  const depth = above.reduce((most, { point }) => Math.max(most, point.length), 0);
  return above.findLast(({ point }) => point.length === depth);
}
