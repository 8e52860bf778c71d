// Whether an adapter is what its maker signed: made of these rows, with this index, and, where that is wanted, by this training.
// Every step has the same bits on every computer (Protocol/training.md), so whoever has the base and the rows needs to trust
// nobody: an index that favours its maker's rows, or weights that other rows made, are seen.

import Arithmetic
import Attribution
import Inference
import ModelFiles
import Primitives
import Records
import Training

struct AdapterVerification: Sendable {
    enum Verdict: String, Sendable { case pass, fail, skipped }

    struct Check: Sendable {
        var name: String
        var verdict: Verdict
        var message: String

        init(_ name: String, _ verdict: Verdict, _ message: String) {
            (self.name, self.verdict, self.message) = (name, verdict, message)
        }

        init(_ name: String, _ holds: Bool, pass: String, fail: String) {
            self.init(name, holds ? .pass : .fail, holds ? pass : fail)
        }

        var json: JSONValue {
            .object([
                "name": .string(name), "verdict": .string(verdict.rawValue), "message": .string(message),
            ])
        }
    }

    let shelf: ModelShelf
    let base: CID
    let adapter: CID
    let network: NetworkID
    /// JSON lines, as its maker had them.
    let rows: [UInt8]
    let file: String
    /// The folder that the training went on from.
    let initial: [(name: String, bytes: [UInt8])]
    /// Every step once more.
    let trainsAgain: Bool
    let threads: Int
    let room: WeightRoom

    /// Blocks for as long as it takes: about that of the influence pass, and of the whole training where it is done again.
    /// - Parameter emit: a line for each check, and for the progress of the longer ones.
    func run(_ emit: (JSONValue) -> Void, while isWanted: () -> Bool) throws -> JSONValue {
        let (manifest, envelope) = try shelf.trainingManifest(of: adapter)
        var checks: [Check] = []
        func add(_ check: Check) {
            checks.append(check)
            emit(.members([JSONMember("event", .string("check")), JSONMember("check", check.json)]))
        }
        let isSigned = envelope.isValid(.training, network: network)
        add(
            Check(
                "signature", isSigned, pass: "signed by \(envelope.signer.account.text)",
                fail: "its manifest's signature is not that of \(envelope.signer.account.text) on this network"))
        add(
            Check(
                "base", manifest.base == base, pass: "made for \(base.text)",
                fail: "made for \(manifest.base.text), not for \(base.text)"))
        guard manifest.numerics == KernelNumerics.revision, let precision = Precision(rawValue: manifest.precision)
        else {
            throw SignedTrainingFault(
                description:
                    "it was trained in \(manifest.precision) by revision \(manifest.numerics) of the numerics; "
                    + "this peer computes revision \(KernelNumerics.revision)")
        }
        let folder = try shelf.folder(adapter), baseFolder = try shelf.folder(base)
        defer { withExtendedLifetime((folder, baseFolder)) {} }
        let weights = folder.bytes(of: PEFTFolder.weightsName).map { [UInt8]($0) } ?? []
        add(
            Check(
                "weights", Digest(sha256: weights) == manifest.weights, pass: "its weights are those that were signed",
                fail: "its weights have another digest than was signed"))
        let claim = try room.claim(
            try WeightPlan(folder: baseFolder, precision: precision).whole, for: "the verification")
        defer { withExtendedLifetime(claim) {} }
        let model = try LoadedModel(folder: baseFolder, precision: precision)
        let read = try TrainingRows(jsonl: rows, file: file, model: model)
        let areRows = read.root == manifest.rows && UInt64(read.rows.count) == manifest.rowCount
        add(
            Check(
                "rows", areRows, pass: "made of these \(manifest.rowCount) rows, in this order",
                fail: "made of \(manifest.rowCount) rows with the root \(manifest.rows.hex), not of these "
                    + "\(read.rows.count) with \(read.root.hex)"))
        // Other rows say nothing about what was made of its own.
        if areRows {
            add(try index(manifest, model, read, folder, emit, isWanted))
            add(try training(manifest, model, read, emit, isWanted))
        }
        let holds = !checks.contains { $0.verdict == .fail }
        return .members([
            JSONMember("event", .string("done")), JSONMember("adapter", .string(adapter.text)),
            JSONMember("holds", .bool(holds)), JSONMember("maker", .string(envelope.signer.account.text)),
            JSONMember("checks", .array(checks.map(\.json))),
        ])
    }

    private func progress(_ what: String, _ done: Int, of count: Int) -> JSONValue {
        .members([
            JSONMember("event", .string("progress")), JSONMember("check", .string(what)),
            JSONMember("done", .integer(done)), JSONMember("of", .integer(count)),
        ])
    }

    /// Every row projected once more, at the weights in the file.
    private func index(
        _ manifest: TrainingManifest, _ model: LoadedModel, _ read: TrainingRows, _ folder: MappedFolder,
        _ emit: (JSONValue) -> Void, _ isWanted: () -> Bool
    ) throws -> Check {
        guard let signed = manifest.influence else { return Check("index", .skipped, "it names no influence index") }
        let factors = try AdapterFactors(folder: folder, config: model.config)
        let longest = read.rows.reduce(1) { max($0, $1.inputCount) },
            tokensMax = max(TrainingLimit.packedTokensMax, longest)
        let claim = try room.claim(
            try InfluencePass.byteCount(
                base: TrainingBase(model), adapter: factors, rowTokensMax: longest, tokensMax: tokensMax,
                width: threads,
                keptBytesMax: 0), for: "the verification")
        defer { withExtendedLifetime(claim) {} }
        let pass: InfluencePass
        do {
            pass = try InfluencePass(
                model: model, adapter: factors, rows: manifest.rows, rowTokensMax: longest,
                pool: WorkerThreads(width: threads), tokensMax: tokensMax, keptBytesMax: 0)
        } catch let fault as InfluenceFault {
            return Check("index", .fail, "no index is made of such an adapter: \(fault)")
        }
        let owners = read.owners(jsonl: rows, snapshot: manifest.datanet), count = read.rows.count
        let indexClaim = try room.claim(
            InfluenceIndexBuilder.byteCount(pass.projection.shape, rows: count), for: "the verification")
        defer { withExtendedLifetime(indexClaim) {} }
        var said = 0
        let made = try pass.index(of: read.rows, owners: owners) { done in
            if done * 10 / count > said {
                said = done * 10 / count
                emit(progress("index", done, of: count))
            }
            return isWanted()
        }
        guard let made else { throw CancellationError() }
        return Check(
            "index", made.cid == signed, pass: "its index is that of these rows at these weights, to the last bit",
            fail: "its index is not that of these rows at these weights: \(made.cid.text) is")
    }

    private func training(
        _ manifest: TrainingManifest, _ model: LoadedModel, _ read: TrainingRows, _ emit: (JSONValue) -> Void,
        _ isWanted: () -> Bool
    ) throws -> Check {
        guard trainsAgain else { return Check("training", .skipped, "not trained again; --retrain does") }
        let named = Dictionary(manifest.settings.map { ($0.name, $0.value) }) { first, _ in first }
        guard let settings = TrainingSettings(named: named) else {
            return Check("training", .fail, "its settings are not those of a training")
        }
        if let fault = settings.fault {
            return Check("training", .fail, "nobody trained with its settings: \(fault)")
        }
        var start: AdapterFactors?
        if let signed = manifest.initial {
            let given = initial.first { $0.name == PEFTFolder.weightsName }?.bytes
            guard let given, CID(.raw, hashing: given) == signed else {
                return Check(
                    "training", .skipped, "it went on from the weights \(signed.text); give their folder with --init")
            }
            start = try AdapterFactors(
                folder: MemoryFolder(initial), config: model.config)
        }
        let bytes = try Trainer.byteCounts(
            base: TrainingBase(model), rows: read.rows, settings: settings, initial: start, width: threads,
            keptBytesMax: 0
        ).steps
        let claim = try room.claim(bytes, for: "the verification")
        defer { withExtendedLifetime(claim) {} }
        let trainer = try Trainer(
            model: model, rows: read.rows, heldOut: [], settings: settings, initial: start,
            pool: WorkerThreads(width: threads), keptBytesMax: 0)
        var said = 0
        while !trainer.isDone {
            guard isWanted() else { throw CancellationError() }
            _ = try trainer.advance()
            if trainer.step * 20 / settings.steps > said {
                said = trainer.step * 20 / settings.steps
                emit(progress("training", trainer.step, of: settings.steps))
            }
        }
        let files = PEFTFolder.files(of: trainer, base: "", initial: start)
        let weights = files.first { $0.name == PEFTFolder.weightsName }?.bytes ?? []
        return Check(
            "training", Digest(sha256: weights) == manifest.weights && UInt64(trainer.step) == manifest.steps,
            pass: "trained again: the same weights after \(trainer.step) steps, to the last bit",
            fail: "trained again with these rows and settings it has other weights")
    }
}
