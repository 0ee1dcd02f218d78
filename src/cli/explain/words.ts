import type { RedirectPolicy } from '../../policy/policy.ts';
import type { Rule } from './decision.ts';
import type { Question } from './question.ts';

/** The rule that decided, as a sentence about this connection. */
export function ruleInWords(rule: Rule, policy: RedirectPolicy, question: Question): string {
  const { port } = question;
  const outbound = question.direction === 'outbound';
  const to = outbound ? question.to.text : 'the pod';
  switch (rule) {
    case 'none':
      return 'no rule is about it';
    case 'excluded-port':
      return `port ${port} is excluded ${outbound ? 'outbound' : 'inbound'}`;
    case 'passthrough-source':
      return "127.0.0.6 and ::6 are the source of the sidecar's own way to the application";
    case 'self-call':
      return 'the sidecar calls its own pod, which is inbound traffic of the pod';
    case 'app-local':
      return `${to} is an address of the pod, and what the application says to its own pod stays inside`;
    case 'sidecar':
      return "it is the sidecar's own connection";
    case 'localhost':
      return `${to} is localhost`;
    case 'excluded-cidr':
      return `${to} is in an excluded block (${policy.outbound.excludeCidrs.join(', ')})`;
    case 'included-port':
      return `port ${port} is one of the ports to capture`;
    case 'included-cidr':
      return `${to} is in a block to capture`;
    case 'capture-all':
      return outbound
        ? 'every address is captured that no other rule is about'
        : 'every port is captured but the excluded';
    case 'not-included':
      return notIncluded(policy, question);
    case 'tunnel-port':
      return `port ${port} is the mesh's tunnel, which the sidecar listens on itself`;
    case 'local-traffic':
      return 'it comes from inside the pod';
    case 'no-query':
      return 'it is no DNS query';
    case 'dns':
      return 'it is a DNS query, and the mesh wants its proxy to answer';
    case 'udp':
      return 'it is UDP: only TCP is redirected, and DNS queries where the mesh wants that';
    case 'no-listener':
      return `the sidecar has no listener on port ${policy.ports.inbound}: refused rather than let past it`;
    case 'family':
      return `the mesh installs no rules for IPv${question.family}`;
    case 'excluded-interface':
      return 'its interface is excluded';
    case 'exempt-user':
      return 'connections of this user are not captured';
    case 'exempt-user-port':
      return `connections of this user to port ${port} are not captured`;
    case 'exempt-group':
      return 'connections of this group are not captured';
    case 'sidecar-localhost':
      return "what the sidecar sends to localhost goes to the pod's own address";
    case 'dns-over-tcp':
      return 'it is a DNS query over TCP, which the mesh leaves alone';
    case 'excluded-source':
      return `it comes from an excluded block (${policy.inbound.excludeSources.join(', ')})`;
    case 'rerouted-interface':
    case 'virtual-network':
      return 'it comes in by an interface whose traffic is outbound';
    case 'left-alone':
      return 'the pod is left alone';
  }
}

function notIncluded({ outbound, inbound }: RedirectPolicy, { direction }: Question): string {
  if (direction === 'outbound') {
    return outbound.enabled
      ? 'neither its address nor its port is one to capture'
      : 'outbound traffic is not captured';
  }
  return inbound.enabled ? 'its port is not one to capture' : 'inbound traffic is not captured';
}
