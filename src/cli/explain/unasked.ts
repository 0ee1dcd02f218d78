/** What decides by more than a question says: told beside the answer. */
import type { RedirectPolicy } from '../../policy/policy.ts';
import type { Question } from './question.ts';

const UNASKED: readonly { has(policy: RedirectPolicy, question: Question): boolean; message: string }[] = [
  {
    has: ({ interfaces }) => interfaces.exclude.length > 0,
    message: 'interfaces.exclude: traffic of the excluded interfaces passes, which is not looked at here',
  },
  {
    has: ({ interfaces }, { direction }) =>
      direction === 'inbound' && interfaces.reroute.length + interfaces.virtual.length > 0,
    message:
      'interfaces.reroute, interfaces.virtual: what comes in by these is outbound, which is not looked at here',
  },
  {
    has: ({ misc }, { direction }) => direction === 'inbound' && misc.dropInvalid,
    message: 'misc.dropInvalid: packets that connection tracking calls invalid are dropped',
  },
];

export function unaskedOf(policy: RedirectPolicy, question: Question): string[] {
  return UNASKED.filter(({ has }) => has(policy, question)).map(({ message }) => message);
}
