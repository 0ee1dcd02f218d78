import { Agent } from 'node:http';
import type { Credentials } from '../../src/pod/kubernetes/credentials.ts';

/** Of an API server on loopback that asks for nothing, as tests have. */
export function plainCredentials(port: number): Credentials {
  const agent = new Agent({ keepAlive: true });
  return {
    server: new URL(`http://127.0.0.1:${port}`),
    present: async () => ({ headers: {}, agent }),
    refused: () => {},
    [Symbol.dispose]: () => agent.destroy(),
  };
}
