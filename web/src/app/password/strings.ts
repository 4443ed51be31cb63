/** The words of giving oneself a new password. */
export const LEAST = 12;
export const MOST = 1_000;

export const words = {
  title: "Change your password",
  before: "Everywhere else you are signed in you will be signed out, within seconds. Here you stay signed in.",
  old: "Old password",
  next: "New password",
  again: "New password again",
  rule: `At least ${LEAST} characters; a few words make a good one.`,
  act: "Change password",
  cancel: "Cancel",
  done: "Your password is changed.",
  after: "You are signed in here only. Every other session of yours has ended; sign in there with the new password.",
  close: "Close",
  faults: {
    noOld: "Give the password that you signed in with.",
    short: (n: number) => `${n === 1 ? "This is 1 character" : `These are ${n} characters`}: give at least ${LEAST}.`,
    long: `Give at most ${MOST.toLocaleString("en")} characters.`,
    same: "This is the old one: give another.",
    unlike: "This is not the same as above.",
    wrongOld: "The old password is wrong.",
    tooMany: "Too many wrong passwords were given. Wait a quarter of an hour, then try again. The password is as it was.",
    unreached: "The plant does not answer. It may or may not have changed the password: try to sign in again before you give another.",
    refused: (why: string) => `The password is as it was: ${why}`,
  },
} as const;
