import { Suspense } from 'react';
import { Answer } from '../answer';

export default function Page({ params }: { params: Promise<{ channel: string }> }) {
  return <Suspense>{params.then(({ channel }) => <Answer channel={channel} />)}</Suspense>;
}
