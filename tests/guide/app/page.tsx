import { Chat } from './chat';
import { Statistics } from './statistics';

export default function Page() {
  return (
    <main>
      <Chat />
      <Statistics />
    </main>
  );
}
