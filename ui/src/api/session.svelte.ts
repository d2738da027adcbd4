// Who uses this page. `required` and no user: the server answers nothing before a login. An older
// server, or one that does not answer, requires none: its other answers say what is wrong.
import { ApiError, getJson, onDenied, postJson } from './http';

export interface Session {
  required: boolean;
  user: string;
  role: 'none' | 'viewer' | 'admin';
}

const OPEN: Session = { required: false, user: '', role: 'admin' };

class Current {
  value = $state.raw<Session | null>(null); // null: not asked yet

  get locked(): boolean {
    return this.value?.required === true && this.value.user === '';
  }

  async ask(): Promise<void> {
    try {
      this.value = await getJson<Session>('/session');
    } catch (error) {
      if (this.value === null || (error instanceof ApiError && error.status === 404)) {
        this.value = OPEN;
      }
    }
  }

  async logIn(user: string, password: string): Promise<void> {
    this.value = await postJson<Session>('/login', { user, password });
  }

  async logOut(): Promise<void> {
    this.value = await postJson<Session>('/logout', {});
  }
}

export const session = new Current();
onDenied(() => void session.ask());
