import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A key and a certificate that it signed itself, for these addresses: its own authority. */
export function selfSigned(addresses: readonly string[] = ['127.0.0.1']): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'shunt-cert-'));
  try {
    const [key, cert] = [join(folder, 'key'), join(folder, 'cert')];
    const files = ['-keyout', key, '-out', cert];
    const alternatives = addresses.map((address) => `IP:${address}`).join(',');
    const names = ['-subj', '/CN=shunt-test', '-addext', `subjectAltName=${alternatives}`];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...kind, ...names, ...files], { stdio: 'ignore' });
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
