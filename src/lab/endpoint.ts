/** `ip:port`, IPv6 in brackets: the form in which the bed compares addresses. */
export function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The address of `ip:port`, without brackets. */
export function hostOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}

/** An IPv4-mapped endpoint as IPv4: one connection shows both forms, by the family of the socket that looks. */
export function unmapped(endpoint: string): string {
  return endpoint.replace(/^\[::ffff:(\d+\.\d+\.\d+\.\d+)\]/, '$1');
}
