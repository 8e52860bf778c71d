import Foundation
import Ledger
import LightClient
import Primitives
import Testing

@Suite struct BundleTests {
    private static let vectors = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../Protocol/Vectors").standardized
    private static let isWriting = ProcessInfo.processInfo.environment["OPENLEDGER_WRITE_VECTORS"] == "1"

    @Test func aGoodBundlePassesEveryCheck() throws {
        for vector in try BundleVectors.valid.get() {
            #expect(vector.fails == [], "\(vector.name)")
            let bundle = try ReceiptBundle(decoding: vector.bytes)
            #expect(bundle.encoded() == vector.bytes)
            let verdicts = BundleVerifier.verify(vector.bytes, checkpoint: vector.checkpoint, now: vector.now)
            #expect(verdicts.map(\.check) == BundleCheck.allCases)
            #expect(verdicts.allPass && verdicts.json["pass"] == .bool(true))
            #expect(verdicts.allSatisfy { !$0.reason.isEmpty })
            #expect(bundle.json["receipt"]?["id"]?.text == bundle.receipt.id.hex)
        }
    }

    @Test func everyBadBundleFailsWhereItShould() throws {
        let expected: [String: Set<String>] = [
            "price": ["price"], "total-below-amount": ["price"], "weights-sum": ["weights"],
            "weights-order": ["weights"], "weights-without-rows": ["weights"], "other-network": ["network"],
            "server-signature": ["server-signature", "inclusion"],
            "payer-signature": ["payer-signature", "inclusion"],
            "signatures-swapped": ["server-signature", "payer-signature", "inclusion"],
            "signature-small-order": ["server-signature", "inclusion"],
            "signature-scalar-not-reduced": ["server-signature", "inclusion"], "proof-index": ["inclusion"],
            "proof-count": ["inclusion"], "proof-path": ["inclusion"], "proof-short": ["inclusion"],
            "quorum-short": ["certificate"], "signer-twice": ["certificate"], "signature-missing": ["certificate"],
            "signer-unknown": ["certificate"], "signer-bits-long": ["certificate"], "notarization": ["certificate"],
            "view-before-header": ["certificate"], "handover-missing": ["committee"],
            "handover-last-missing": ["certificate"], "handover-quorum-short": ["committee"],
            "handover-other-committee": ["committee", "certificate"], "other-checkpoint": ["committee"],
            "other-network-asked": ["network", "committee"], "stale-checkpoint": ["freshness"],
            "from-the-future": ["freshness"],
        ]
        let vectors = try BundleVectors.mustReject.get()
        #expect(Set(vectors.map(\.name)).count == vectors.count)
        for vector in vectors {
            #expect(!vector.fails.isEmpty, "\(vector.name) passed")
            if let checks = expected[vector.name] { #expect(Set(vector.fails) == checks, "\(vector.name)") }
        }
        #expect(expected.keys.allSatisfy { name in vectors.contains { $0.name == name } })
    }

    /// The files in Protocol/Vectors/swift are what this code makes. OPENLEDGER_WRITE_VECTORS=1 writes them.
    @Test func theVectorsAreOnDisk() throws {
        let folder = Self.vectors.appending(path: "swift")
        var index: [JSONValue] = []
        for (name, vectors) in [
            ("valid", try BundleVectors.valid.get()), ("must-reject", try BundleVectors.mustReject.get()),
        ] {
            let place = folder.appending(path: name)
            if Self.isWriting { try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true) }
            for vector in vectors {
                let file = place.appending(path: "\(vector.name).cbor")
                if Self.isWriting { try Data(vector.bytes).write(to: file) }
                #expect(try Data(contentsOf: file) == Data(vector.bytes), "\(vector.name)")
                index.append(vector.json(folder: name))
            }
        }
        let lines = index.map { $0.serializedText }.joined(separator: ",\n")
        let text = "[\n\(lines)\n]\n"
        let file = folder.appending(path: "vectors.json")
        if Self.isWriting { try Data(text.utf8).write(to: file) }
        #expect(try Data(contentsOf: file) == Data(text.utf8))
    }

    /// Every vector of every producer, by the verdicts that the producer froze.
    @Test(arguments: ["swift", "python"])
    func frozenVerdictsHold(producer: String) throws {
        let folder = Self.vectors.appending(path: producer)
        let index = try JSONValue.parse([UInt8](Data(contentsOf: folder.appending(path: "vectors.json"))))
        let vectors = try #require(index.items)
        #expect(!vectors.isEmpty)
        for vector in vectors {
            let name = try #require(vector["file"]?.text)
            let network = try #require(vector["network"]?.text.flatMap(NetworkID.init(text:)))
            let committee = try #require(vector["checkpoint"]?.text.flatMap(Hex.decode).flatMap { Digest($0) })
            let checkpoint = Checkpoint(
                network: network, committee: committee,
                time: vector["checkpointTime"]?.integer.map { WallTime(milliseconds: Int64($0)) },
                ageMillisecondsMax: Int64(try #require(vector["maxAge"]?.integer)))
            let bytes = [UInt8](try Data(contentsOf: folder.appending(path: name)))
            let now = WallTime(milliseconds: Int64(try #require(vector["now"]?.integer)))
            let fails = BundleVerifier.verify(bytes, checkpoint: checkpoint, now: now).filter { !$0.passed }
            let expected = vector["fails"]?.items?.compactMap(\.text)
            #expect(fails.map(\.check.rawValue) == expected, "\(producer)/\(name)")
            #expect(name.hasPrefix("valid/") == fails.isEmpty)
        }
    }

    /// Bootstrap/verify.py, which shares no code with this, agrees on all of them.
    @Test func thePythonVerifierAgrees() throws {
        let python = ProcessInfo.processInfo.environment["OPENLEDGER_VERIFY_PYTHON"] ?? "python3"
        let script = Self.vectors.appending(path: "../../Bootstrap/verify.py").standardized.path
        func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = [python] + arguments
            let pipe = Pipe()
            process.standardOutput = pipe
            process.standardError = pipe
            try process.run()
            let output = pipe.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: output, as: UTF8.self))
        }
        guard
            try run(["-c", "import cbor2, nacl"]).status == 0 || run(["-c", "import cbor2, cryptography"]).status == 0
        else {
            print("*** SKIPPED: \(python) has no cbor2 with PyNaCl or cryptography; Bootstrap/verify.py is not tested.")
            return
        }
        for producer in ["swift", "python"] {
            let index = Self.vectors.appending(path: "\(producer)/vectors.json").path
            let (status, output) = try run([script, "--vectors", index])
            #expect(status == 0, "\(output)")
        }
    }

    /// Random damage to a good file never passes and never traps.
    @Test func damageNeverPasses() throws {
        let vector = try BundleVectors.valid.get()[1]
        var random = SeededRandom(seed: 11)
        for _ in 0..<100 {
            var bytes = vector.bytes
            let index = Int(random.below(UInt64(bytes.count)))
            bytes[index] ^= UInt8(1 << random.below(8))
            let verdicts = BundleVerifier.verify(bytes, checkpoint: vector.checkpoint, now: vector.now)
            #expect(!verdicts.allPass, "byte \(index)")
        }
    }

    @Test func theHeaderChainFollowsHandovers() throws {
        let scene = try BundleScene()
        let bundle = try scene.bundle()
        var chain = try #require(HeaderChain(checkpoint: scene.checkpoint, committee: scene.committees[0]))
        #expect(HeaderChain(checkpoint: scene.checkpoint, committee: scene.committees[1]) == nil)
        #expect(throws: CertificateFault.wrongCommittee) { try chain.accept(bundle.header, bundle.certificate) }
        #expect(throws: CertificateFault.self) { try chain.advance(scene.handovers[1]) }
        for handover in scene.handovers { try chain.advance(handover) }
        try chain.accept(bundle.header, bundle.certificate)
        #expect(chain.newest == bundle.header)
        #expect(chain.committee == scene.committees[2])
    }
}
