/** Shows the connections out of a cgroup until it is interrupted: main.ts OBJECT CGROUP [REFUSED_PORT] */
import { BpfError, Link } from 'libbpf-ts';
import { ConnectionCodec, connections } from './gen/connections.ts';

const [file, cgroup, refusedPort = '0'] = process.argv.slice(2);
if (file === undefined || cgroup === undefined) {
  process.stderr.write('usage: main.ts connections.bpf.o CGROUP_DIRECTORY [REFUSED_PORT]\n');
  process.exit(2);
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

try {
  using open = connections.open({ file }); // nothing is in the kernel yet
  open.rodata.refused_port = Number(refusedPort); // a wrong name or type does not compile
  open.maps.counts.maxEntries = 4096;

  using object = await open.load(); // the verifier runs off the event loop
  using link = Link.attachCgroup(object.programs.on_connect, { cgroup });
  using ring = object.maps.connections.open(ConnectionCodec);
  console.log(`watching ${cgroup} (link ${link.id}); stop with Ctrl-C`);

  for await (const { address, port, pid, comm } of ring.events({ signal: stop.signal })) {
    const dotted = [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
    console.log(`${comm}[${pid}] -> ${dotted}:${port}`);
  }
  for (const [port, count] of object.maps.counts.sums()) console.log(`port ${port}: ${count}`);
} catch (error) {
  if (!(error instanceof BpfError)) throw error;
  console.error(`${error.message}\n  ${error.hint ?? ''}`);
  if (error.log !== undefined) console.error(error.log.tail(20));
  process.exitCode = 1;
}
