// What an answer is asked of an adapter's index: one pass forward and back over prompt and answer at the weights that gave it,
// on a thread that answers do not wait for. From the quantised query on it is integers (Protocol/attribution.md, Influence).

import Attribution
import Dispatch
import Inference
import ModelFiles
import Primitives
import Synchronization
import Training

/// The rows of an adapter's own datanet, for an answer that asked for none.
struct OwnRows: Sendable {
    let snapshot: CID
    /// For drafts, where they are there already.
    var spans: SpanCorpus?
}

/// What the rows of one index are to one answer.
struct InfluenceEvidence: Sendable {
    let index: CID
    /// Of row i of the snapshot; rows beyond have none.
    let scores: [Int64]
}

extension InferenceService {
    /// - Parameter done: called once, from any thread; with nil where no adapter speaks for these rows, or there was no time.
    func influence(
        _ plan: WeighingPlan, _ snapshot: SnapshotEvidence?, _ scored: Result<Scored, JobFault>,
        done: @escaping @Sendable (InfluenceEvidence?) -> Void
    ) {
        // A fusion has no index of its own.
        guard snapshot?.owners != nil, plan.fusion == nil, plan.adapters.count == 1,
            plan.kinds.map({ $0.contains(.influence) }) ?? !pace.isOff, case .success(let scored) = scored
        else { return done(nil) }
        let seconds = WeighingLimits.scoringSeconds * (plan.kinds == nil ? 1 : 8)
        let deadline = ContinuousClock.now + .seconds(seconds)
        (plan.kinds == nil ? querying : auditing).async { [weak self] in
            guard let self else { return done(nil) }
            done(query(plan, scored, until: deadline))
        }
    }

    private func query(
        _ plan: WeighingPlan, _ scored: Scored, until deadline: ContinuousClock.Instant
    ) -> InfluenceEvidence? {
        let adapter = plan.adapters[0], model = scored.model
        guard let manifest = influences.manifest(of: adapter, on: shelf), let cid = manifest.influence,
            manifest.base == plan.key.model,
            let influence = try? influences.index(
                of: adapter, rowsOf: plan.found.datanet, on: shelf, from: library)
        else { return nil }
        let prompt = scored.prompt.tokens, tokens = prompt.count + plan.answer.count
        let work = Double(model.multipliedWeights) * Double(tokens)
        guard plan.kinds != nil || queryPace.allows(work, seconds: WeighingLimits.scoringSeconds) else { return nil }
        let start = ContinuousClock.now
        do {
            let folder = try shelf.folder(adapter)
            let factors = try withExtendedLifetime(folder) {
                try AdapterFactors(folder: folder, config: model.config)
            }
            var claim: WeightClaim?, kept = 0
            for keptBytesMax in [TrainingDeskLimit.keptBytesMax, 0] where claim == nil {
                kept = keptBytesMax
                claim = room.claim(
                    try InfluencePass.byteCount(
                        base: TrainingBase(model), adapter: factors, rowTokensMax: tokens, tokensMax: 1, width: 1,
                        keptBytesMax: keptBytesMax))
            }
            guard let claim else { return nil }
            defer { withExtendedLifetime(claim) {} }
            let pass = try InfluencePass(
                model: model, adapter: factors, rows: manifest.rows, rowTokensMax: tokens, tokensMax: 1,
                keptBytesMax: kept)
            let query = try pass.query(prompt: prompt, answer: plan.answer, index: influence.index) {
                ContinuousClock.now < deadline
            }
            queryPace.took(work, ContinuousClock.now - start)
            return InfluenceEvidence(index: cid, scores: influence.scores(query))
        } catch is CancellationError {
            queryPace.took(work, ContinuousClock.now - start)
            return nil
        } catch {
            // A model or an adapter that cannot be asked: its kind is not named.
            return nil
        }
    }
}

/// How much a second of a query's pass comes to, in weights times tokens; what there is no time for is not begun.
final class QueryPace: Sendable {
    /// Of a small board, before anything was measured.
    private static let first = 4e9
    private let rate = Mutex(first)

    /// Where it says no a little more is believed the next time: the machine may have been busy.
    func allows(_ work: Double, seconds: Double) -> Bool {
        rate.withLock { rate in
            if work <= rate * seconds { return true }
            rate *= 1.0625
            return false
        }
    }

    func took(_ work: Double, _ time: Duration) {
        let seconds = max(1e-3, Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18)
        // Small passes are mostly overhead.
        guard seconds > 0.02 else { return }
        rate.withLock { $0 = max(1e6, (work / seconds + $0) / 2) }
    }
}
