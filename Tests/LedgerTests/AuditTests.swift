import Foundation
import Primitives
import Testing

@testable import Ledger

/// A receipt with its opening, and two auditors who found another token than the server signed for.
struct AuditScene {
    let world: World
    let receipt: SignedReceipt
    let opening: AuditOpening
    let auditors = [World.key("a"), World.key("b")]

    init(stop: [String] = [], ignoreEndOfSequence: Bool = false) throws {
        world = try World()
        let salts = (1...2).map { [UInt8](repeating: $0, count: 32) }
        opening = AuditOpening(
            promptTokens: [1, 2, 3, 70_000], answerTokens: [9, 8, 7], promptSalt: salts[0], answerSalt: salts[1],
            settings: DecodingSettings(stop: stop, ignoreEndOfSequence: ignoreEndOfSequence))
        receipt = world.sign(try Self.receipt(world, opening))
    }

    static func receipt(_ world: World, _ opening: AuditOpening) throws -> Receipt {
        var receipt = world.receipt(AllowanceID(.zero))
        receipt.promptTokens = UInt64(opening.promptTokens.count)
        receipt.answerTokens = UInt64(opening.answerTokens.count)
        receipt.amount = try receipt.price.cost(
            promptTokens: receipt.promptTokens, answerTokens: receipt.answerTokens)
        receipt.total = receipt.amount
        receipt.prompt = try #require(
            Commitment(salt: opening.promptSalt, content: Commitment.content(tokens: opening.promptTokens)))
        receipt.answer = try #require(
            Commitment(salt: opening.answerSalt, content: Commitment.content(tokens: opening.answerTokens)))
        receipt.decoding.extra = opening.settings.commitment(salt: opening.promptSalt)
        return receipt
    }

    func verdict(_ outcome: AuditOutcome, numerics: UInt64? = nil) throws -> AuditVerdict {
        try #require(
            AuditVerdict(
                receipt.id, outcome, of: opening, numerics: numerics ?? receipt.receipt.model.numerics, height: 12,
                time: WallTime(milliseconds: 1_700_000_000_000)))
    }

    func signed(_ outcome: AuditOutcome, by auditor: Int = 0) throws -> SignedVerdict {
        SignedVerdict(try verdict(outcome), by: auditors[auditor], network: world.network)
    }

    func evidence(_ outcome: AuditOutcome = .differs(position: 1, found: 4)) throws -> AuditEvidence {
        AuditEvidence(
            receipt: receipt, opening: opening, verdicts: try auditors.indices.map { try signed(outcome, by: $0) })
    }
}

@Suite struct AuditTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "../../Protocol/Vectors/audit").standardized
    private static let isWriting = ProcessInfo.processInfo.environment["OPENLEDGER_WRITE_VECTORS"] == "1"

    @Test func anOpeningOpensItsReceiptAlone() throws {
        for (stop, ignores) in [([], false), (["\n\n"], false), ([], true), (["a", "b"], true)] as [([String], Bool)] {
            let scene = try AuditScene(stop: stop, ignoreEndOfSequence: ignores)
            try scene.opening.check(scene.receipt.receipt)
            #expect((scene.receipt.receipt.decoding.extra == nil) == (stop.isEmpty && !ignores))
            func fails(_ fault: AuditFault, _ change: (inout AuditOpening) -> Void) {
                var opening = scene.opening
                change(&opening)
                #expect(throws: fault) { try opening.check(scene.receipt.receipt) }
            }
            fails(.promptTokens) { $0.promptTokens.append(5) }
            fails(.answerTokens) { $0.answerTokens.removeLast() }
            fails(.prompt) { $0.promptTokens[3] += 1 }
            fails(.prompt) { $0.promptSalt[0] ^= 1 }
            fails(.answer) { $0.answerTokens[0] = 10 }
            fails(.answer) { $0.answerSalt[31] ^= 1 }
            fails(.settings) { $0.settings.stop.append("x") }
            fails(.settings) { $0.settings.ignoreEndOfSequence.toggle() }
            fails(.settings) { $0.settings.bias = [AskBias(token: 1, bias: 1)] }
            fails(.settings) { $0.settings.form = .json }
            fails(.settings) { $0.settings.choice = 1 }
        }
    }

    @Test func tokensAreFourBytesEach() {
        #expect(Commitment.tokens(content: [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]) == [1, .max])
        #expect(Commitment.tokens(content: [0, 0, 1]) == nil)
        #expect(Commitment.tokens(content: []) == [])
    }

    @Test func aVerdictCommitsToWhatItFound() throws {
        let scene = try AuditScene()
        #expect(try scene.verdict(.same(ended: true)).answer == scene.receipt.receipt.answer)
        #expect(try scene.verdict(.unable("not_finite")).answer == nil)
        let differs = try scene.verdict(.differs(position: 1, found: 4))
        #expect(differs.answer == scene.opening.answerCommitment([9, 4]))
        #expect(
            try scene.verdict(.differs(position: 2, found: nil)).answer == scene.opening.answerCommitment([9, 8]))
        let beyond = AuditVerdict(
            scene.receipt.id, .differs(position: 3, found: 1), of: scene.opening, numerics: 1, height: 0,
            time: WallTime(milliseconds: 0))
        #expect(beyond == nil)
        for outcome: AuditOutcome in [.same(ended: false), .differs(position: 0, found: nil), .unable("engine")] {
            try scene.verdict(outcome).check(scene.receipt.receipt, scene.opening)
        }
    }

    @Test func evidenceHoldsByItself() throws {
        let scene = try AuditScene(stop: ["\n"])
        for outcome: AuditOutcome in [.differs(position: 1, found: 4), .differs(position: 0, found: nil)] {
            let evidence = try scene.evidence(outcome)
            try evidence.check(network: scene.world.network)
            #expect(evidence.outcome == outcome)
            #expect(try AuditEvidence(decoding: evidence.encoded()) == evidence)
        }
        let other = NetworkID(Digest(sha256: [1]))
        #expect(throws: AuditFault.receipt) { try scene.evidence().check(network: other) }
    }

    @Test func everyObjectReadsBackAndNothingElse() throws {
        let scene = try AuditScene(stop: ["x"], ignoreEndOfSequence: true)
        func sample<Object: ChainObject>(_ object: Object) throws {
            let bytes = object.encoded()
            #expect(bytes.count <= Object.bytesMax)
            #expect(try Object(decoding: bytes) == object)
            #expect(throws: CBORFault.self) { try Object(decoding: Array(bytes.dropLast())) }
            #expect(throws: CBORFault.self) { try Object(decoding: bytes + [0]) }
            guard case .entries(let entries) = try CBOR.decode(bytes) else { return }
            let pairs = entries.map { ($0.key, $0.value) }
            #expect(throws: CBORFault.self) {
                try Object(decoding: CBOR.map(pairs + [("zz", .unsigned(1))]).encoded())
            }
            for index in pairs.indices where pairs[index].0 != "found" {
                var fewer = pairs
                fewer.remove(at: index)
                #expect(throws: CBORFault.self) { try Object(decoding: CBOR.map(fewer).encoded()) }
            }
        }
        try sample(scene.opening)
        for outcome: AuditOutcome in [
            .same(ended: true), .differs(position: 2, found: 3), .differs(position: 2, found: nil), .unable("engine"),
        ] {
            try sample(try scene.verdict(outcome))
            try sample(try scene.signed(outcome))
        }
        try sample(try scene.evidence())
    }

    // MARK: Vectors

    private static func valid() throws -> [(String, [UInt8])] {
        let plain = try AuditScene(), stopped = try AuditScene(stop: ["\n\n"], ignoreEndOfSequence: true)
        return [
            ("another-token", try plain.evidence().encoded()),
            ("beyond-the-end", try plain.evidence(.differs(position: 2, found: nil)).encoded()),
            ("stop-strings", try stopped.evidence().encoded()),
        ]
    }

    /// By the fault that each is refused with.
    private static func mustReject() throws -> [(String, [UInt8])] {
        let scene = try AuditScene()
        let good = try scene.evidence()
        var vectors: [(String, [UInt8])] = []
        func add(_ fault: AuditFault, _ change: (inout AuditEvidence) throws -> Void) rethrows {
            var evidence = good
            try change(&evidence)
            vectors.append((fault.rawValue, evidence.encoded()))
        }
        /// The verdicts signed again after a change.
        func both(_ evidence: inout AuditEvidence, _ change: (inout AuditVerdict) -> Void) {
            for index in evidence.verdicts.indices {
                var verdict = evidence.verdicts[index].verdict
                change(&verdict)
                let key = scene.auditors.first { $0.publicKey == evidence.verdicts[index].key } ?? scene.auditors[0]
                evidence.verdicts[index] = SignedVerdict(verdict, by: key, network: scene.world.network)
            }
        }
        add(.receipt) { $0.receipt.serverSignature = $0.receipt.payerSignature }
        add(.promptTokens) { $0.opening.promptTokens.removeLast() }
        add(.answerTokens) { $0.opening.answerTokens.append(1) }
        add(.prompt) { $0.opening.promptTokens[0] = 0 }
        add(.answer) { $0.opening.answerTokens[0] = 0 }
        add(.settings) { $0.opening.settings.stop = ["a"] }
        add(.verdictSignature) { $0.verdicts[0].signature = $0.verdicts[1].signature }
        add(.verdictReceipt) { both(&$0) { $0.receipt = .zero } }
        add(.verdictOrder) { $0.verdicts.reverse() }
        try add(.verdictServer) { evidence in
            let own = SignedVerdict(
                try scene.verdict(.differs(position: 1, found: 4)), by: World.key("server"),
                network: scene.world.network)
            evidence.verdicts = [evidence.verdicts[0], own].sorted { $0.key < $1.key }
        }
        try add(.verdictOutcome) { evidence in
            evidence.verdicts = try scene.evidence(.same(ended: true)).verdicts
        }
        add(.verdictNumerics) { both(&$0) { $0.numerics += 1 } }
        add(.verdictPosition) { both(&$0) { $0.outcome = .differs(position: 3, found: 4) } }
        add(.verdictFound) { both(&$0) { $0.outcome = .differs(position: 1, found: 8) } }
        add(.verdictAnswer) { both(&$0) { $0.answer = scene.receipt.receipt.answer } }
        try add(.verdictsDisagree) { evidence in
            evidence.verdicts = [
                try scene.signed(.differs(position: 1, found: 4)),
                try scene.signed(.differs(position: 1, found: 5), by: 1),
            ].sorted { $0.key < $1.key }
        }
        guard case .entries(let entries) = good.cbor else { return vectors }
        let pairs = entries.map { ($0.key, $0.value) }
        func malformed(_ name: String, _ pairs: [(String, CBOR)]) {
            vectors.append(("malformed-\(name)", CBOR.map(pairs).encoded()))
        }
        malformed("one-verdict", pairs.map { $0.0 == "verdicts" ? ($0.0, .array([good.verdicts[0].cbor])) : $0 })
        malformed("version", pairs.map { $0.0 == "v" ? ($0.0, .unsigned(2)) : $0 })
        malformed("unknown-field", pairs + [("note", .text("believe me"))])
        vectors.append(("malformed-trailing", good.encoded() + [0xf6]))
        vectors.append(("malformed-cut", good.encoded().dropLast()))
        return vectors
    }

    @Test func theVectorsAreOnDiskAndDoWhatTheirNamesSay() throws {
        let network = try World().network
        let rejected = try Self.mustReject()
        let named = Set(rejected.map(\.0))
        #expect(named.count == rejected.count)
        #expect(AuditFault.allCases.allSatisfy { named.contains($0.rawValue) })
        for (folder, vectors) in [("valid", try Self.valid()), ("must-reject", rejected)] {
            let place = Self.folder.appending(path: folder)
            if Self.isWriting { try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true) }
            for (name, bytes) in vectors {
                let file = place.appending(path: "\(name).cbor")
                if Self.isWriting { try Data(bytes).write(to: file) }
                #expect(try Data(contentsOf: file) == Data(bytes), "\(name)")
                if folder == "valid" {
                    try AuditEvidence(decoding: bytes).check(network: network)
                } else if name.hasPrefix("malformed-") {
                    #expect(throws: CBORFault.self, "\(name)") { try AuditEvidence(decoding: bytes) }
                } else {
                    let evidence = try AuditEvidence(decoding: bytes)
                    let fault = try #require(AuditFault(rawValue: name))
                    #expect(throws: fault, "\(name)") { try evidence.check(network: network) }
                }
            }
        }
    }
}
