import { Answer } from '../answer';

export default async function Page({ params }: { params: Promise<{ channel: string }> }) {
  const { channel } = await params;
  return <Answer channel={channel} />;
}
