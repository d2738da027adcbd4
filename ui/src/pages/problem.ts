// Errors in plain words: what happened and what the reader can do.
import { ApiError } from '../api/http';

export interface Problem {
  title: string;
  text: string;
  passing: boolean; // worth trying again without being asked
}

export function describe(error: unknown): Problem {
  if (!(error instanceof ApiError)) {
    return { title: 'Something went wrong in this page', text: String(error), passing: false };
  }
  switch (error.code) {
    case 'unreachable':
      return {
        title: 'The server cannot be reached',
        text: `${error.message}. Is it still running at ${location.origin}? This page tries again by itself.`,
        passing: true,
      };
    case 'unavailable':
      return {
        title: 'The server is still starting',
        text: `${error.message} This page tries again by itself.`,
        passing: true,
      };
    case 'invalid':
      return { title: 'The server refused the question', text: error.message, passing: false };
    case 'denied':
      return { title: 'This is not for you', text: error.message, passing: false };
    case 'not_found':
      return { title: 'Not found', text: error.message, passing: false };
    default:
      return { title: 'The server failed to answer', text: error.message, passing: false };
  }
}
