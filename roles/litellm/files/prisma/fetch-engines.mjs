// Fetches Prisma's official engines for this machine into a directory, by Prisma's own downloader:
//   node fetch-engines.mjs DIRECTORY
// Environment: PRISMA_ENGINES_MIRROR (base URL instead of Prisma's host), HTTP(S)_PROXY.
// Prints the commit on success; exit 1 and one line on stderr when the engines cannot be had.
import { createRequire } from "node:module";

// @prisma/fetch-engine is a dependency of the CLI, not of this package.
const fromCli = createRequire(createRequire(import.meta.url).resolve("@prisma/engines/package.json"));
const { download } = fromCli("@prisma/fetch-engine");
const { getBinaryTargetForCurrentPlatform } = fromCli("@prisma/get-platform");
const { enginesVersion } = fromCli("@prisma/engines-version");

const [directory] = process.argv.slice(2);
try {
  const binaries = { "query-engine": directory, "schema-engine": directory };
  const target = await getBinaryTargetForCurrentPlatform();
  await download({ binaries, binaryTargets: [target], version: enginesVersion, showProgress: false });
  process.stdout.write(`${enginesVersion}\n`);
} catch (error) {
  process.stderr.write(`${error.message.replace(/\s+/g, " ").slice(0, 300)}\n`);
  process.exitCode = 1;
}
