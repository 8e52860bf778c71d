import ArgumentParser
import Foundation
import Ledger
import LightClient
import Primitives

extension ReceiptCommand {
    /// Offline: no peer, no home, no network.
    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verify a bundle offline; a verdict for each check.",
            discussion: """
                EXAMPLE
                  openledger receipt verify receipt.bundle --network 5e1f… --checkpoint 77ab…

                Without --network and --checkpoint the bundle is checked from the committee that it states itself, which \
                proves that it is whole, not that it is of your network. Exit code 4 when a check fails.
                """)

        @OptionGroup var global: GlobalOptions
        @Argument(help: "A file that receipt bundle wrote.") var file: String
        @Option(help: "The genesis hash of the network.") var network: String?
        @Option(help: "The digest of a committee that you trust.") var checkpoint: String?
        @Option(help: "When that committee was in office, in milliseconds since 1970.") var checkpointTime: Int64?
        @Option(help: "How old a checkpoint may be, in milliseconds.") var maxAge: Int64 = Checkpoint.ageMillisecondsMax
        @Option(help: "The time to judge by, in milliseconds since 1970 (default: now).") var now: Int64?

        func validate() throws {
            for (name, value) in [("--network", network), ("--checkpoint", checkpoint)] {
                if let value, Self.digest(value) == nil {
                    throw ValidationError("\(name) is 64 hexadecimal digits; it is \(value)")
                }
            }
            guard maxAge >= 0 else { throw ValidationError("--max-age is not negative; it is \(maxAge)") }
        }

        static func digest(_ hex: String) -> Digest? { Hex.decode(hex).flatMap { Digest($0) } }

        func run() throws {
            let path = absolutePath(file)
            let content = try readFile(path, bytesMax: ReceiptBundle.bytesMax)
            let bundle = try? ReceiptBundle(decoding: content)
            let stated = bundle?.statedCheckpoint
            let point = Checkpoint(
                network: network.flatMap { NetworkID(text: $0) } ?? stated?.network ?? NetworkID(.zero),
                committee: checkpoint.flatMap(Self.digest) ?? stated?.committee ?? .zero,
                time: checkpointTime.map(WallTime.init(milliseconds:)), ageMillisecondsMax: maxAge)
            let time = WallTime(milliseconds: now ?? Int64(Date().timeIntervalSince1970 * 1000))
            let verdicts = BundleVerifier.verify(content, checkpoint: point, now: time)
            let value = JSONValue.object([
                "verdict": .string(verdicts.allPass ? "valid" : "invalid"),
                "receipt": bundle.map { .string($0.receipt.receipt.id.hex) } ?? .null,
                "batch": bundle.map { .integer($0.header.height) } ?? .null,
                "checks": .array(
                    verdicts.map {
                        .object([
                            "name": .string($0.check.rawValue), "verdict": .string($0.passed ? "pass" : "fail"),
                            "message": .string($0.reason),
                        ])
                    }),
                "checkpoint": .object([
                    "network": .string(point.network.text), "committee": .string(point.committee.hex),
                    "stated_by_the_file": .bool(checkpoint == nil || network == nil),
                ]),
            ])
            if checkpoint == nil || network == nil, verdicts.allPass {
                Output.complain(
                    "Checked from what the file states itself; pass --network and --checkpoint to trust nobody.")
            }
            try Verification.show(value, global.output)
        }
    }
}
