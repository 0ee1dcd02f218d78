/**
 * The application of a pod: says who it is and whom it sees, and echoes.
 *
 *   WHO\n          -> {"name","peer","local"}\n
 *   ECHO N\n + N bytes -> the N bytes
 *   GET ...        -> the same JSON over HTTP/1.1, then close
 *
 * Runs as a plain script, copied to where its uid can read it: it imports nothing of ours.
 * Arguments: name, then ports. It listens on each, on 0.0.0.0 and on [::].
 */
import { createServer, type Socket } from 'node:net';

const [name = 'app', ...ports] = process.argv.slice(2);

function endpoint(address: string | undefined, port: number | undefined): string {
  return address?.includes(':') === true ? `[${address}]:${port}` : `${address}:${port}`;
}

function identity(socket: Socket): string {
  return JSON.stringify({
    name,
    peer: endpoint(socket.remoteAddress, socket.remotePort),
    local: endpoint(socket.localAddress, socket.localPort),
  });
}

function serve(socket: Socket): void {
  const who = identity(socket);
  let line = '';
  let toEcho = 0;
  let http = false;
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    let rest: Buffer = chunk;
    while (rest.length > 0) {
      if (toEcho > 0) {
        const part = rest.subarray(0, toEcho);
        socket.write(part);
        toEcho -= part.length;
        rest = rest.subarray(part.length);
        continue;
      }
      const end = rest.indexOf(0x0a);
      line += rest.subarray(0, end === -1 ? undefined : end).toString('latin1');
      if (end === -1) return;
      rest = rest.subarray(end + 1);
      const said = line.trim();
      line = '';
      if (said === 'WHO') socket.write(`${who}\n`);
      else if (said.startsWith('ECHO ')) toEcho = Number(said.slice(5));
      else if (/^(GET|HEAD) /.test(said)) http = true;
      else if (http && said === '') {
        const body = `${who}\n`;
        socket.end(
          `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
        );
      } else if (!http) socket.destroy();
    }
  });
}

for (const port of ports) {
  for (const host of ['0.0.0.0', '::']) {
    const server = createServer(serve);
    server.on('error', (error: NodeJS.ErrnoException) => {
      // A kernel without IPv6 serves IPv4 alone.
      if (host === '::' && (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL')) return;
      throw error;
    });
    server.listen({ host, port: Number(port), ipv6Only: host === '::', backlog: 1024 });
  }
}
