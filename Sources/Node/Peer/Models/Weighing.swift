// Whose rows made an answer: what the snapshot is known by (EvidenceShelf), how likely the answer is without each of the
// passages that stood before it (the engine, in its lowest class), and what both come to. Protocol/attribution.md.
//
//   answer ended ──▶ snapshot's rows ──▶ scorings ──▶ adapter's index asked ──▶ fused ──▶ shares
//                        │ not in time      │ not in time, or too many   │ none, or not in time
//                        ▼                  ▼                            ▼
//                 BM25's own shares   without retrieval            without influence: the kinds that were used are named,
//                                                                  none is guessed

import Attribution
import Decoding
import Dispatch
import Inference
import NodeCore
import Primitives
import Records
import Synchronization

package enum WeighingLimits {
    /// How long an answer's end waits for the rows to be known, and for its scorings.
    static let rowsSeconds = 5.0
    static let scoringSeconds = 10.0
    /// Tokens of all scorings of one answer.
    package static let scoringTokensMax = 16_384
}

/// What is weighed, and for whom.
struct WeighingPlan: Sendable {
    var key: EngineKey
    var adapters: [CID]
    var adapter: String?
    var fusion: AdapterFusion?
    var form: PromptForm
    var found: Found
    /// Passages that stood in the prompt, by number, where that is known; else those that find room again.
    var stood: [UInt64]?
    var answerTokensMax: Int?
    var answer: [Int32]
    /// Of ablations.
    var seed: Digest
    var cacheDomain: UInt32
    /// nil: those that can be had.
    var kinds: Set<EvidenceKind>?
}

struct WeighedRow: Sendable {
    var found: FoundPassage
    var share: PartsPerMillion
    /// Of a passage without a share.
    var reason: ZeroReason?
    var instead: UInt64?
}

struct Weighed: Sendable {
    /// The whole prompt, written again; nil where the engine took no more work.
    var prompt: [Int32]?
    /// Empty: shares are those of BM25's scores.
    var kinds: Set<EvidenceKind>
    /// The index that was asked, of influence.
    var index: CID?
    /// As `SourceLedger.holds` wants them.
    var rows: [WeighedRow]
}

extension InferenceService {
    /// - Parameter done: called once, from any thread.
    func weigh(_ plan: WeighingPlan, done: @escaping @Sendable (Result<Weighed, JobFault>) -> Void) {
        evidence.find(
            plan.found.datanet, for: plan.key.model, on: shelf, from: library, within: WeighingLimits.rowsSeconds
        ) { [weak self] snapshot in
            guard let self else { return done(.failure(.closing)) }
            score(plan) { [weak self] scored in
                guard let self else { return done(.failure(.closing)) }
                influence(plan, snapshot, scored) { [weak self] influence in
                    guard let self else { return done(.failure(.closing)) }
                    weighing.async { done(self.settled(plan, snapshot, scored, influence)) }
                }
            }
        }
    }

    // MARK: Scorings

    private func score(_ plan: WeighingPlan, done: @escaping @Sendable (Result<Scored, JobFault>) -> Void) {
        let most = plan.kinds.map { $0.contains(.retrieval) ? Int.max : 0 } ?? pace.tokensMax(plan.key)
        let scoring = Scoring(plan, tokensMax: most, done: done)
        run(on: plan.key, question: nil, datanet: nil, refuse: { scoring.refuse($0) }) { _ in
            EngineJob(
                token: scoring.token, adapters: plan.adapters,
                begin: { model throws(JobFault) in try scoring.start(model) }, refuse: { scoring.refuse($0) },
                ended: { scoring.end() })
        }
        // Whoever audits has asked for nothing else and can wait.
        let seconds = WeighingLimits.scoringSeconds * (plan.kinds == nil ? 1 : 8)
        weighing.asyncAfter(deadline: .now() + seconds) { [weak self] in
            if let tokens = scoring.expire() { self?.pace.missed(plan.key, tokens) }
        }
    }

    // MARK: Fusion

    private func settled(
        _ plan: WeighingPlan, _ snapshot: SnapshotEvidence?, _ scored: Result<Scored, JobFault>,
        _ influence: InfluenceEvidence?
    ) -> Result<Weighed, JobFault> {
        var prompt: WrittenPrompt?
        var values: [Int64]?
        switch scored {
        case .success(let scored): (prompt, values) = (scored.prompt, scored.values)
        case .failure(let fault):
            guard plan.kinds == nil, plan.stood != nil else { return .failure(fault) }
        }
        let stood = plan.stood.map(Set.init)
        let passages = prompt?.passages ?? plan.found.passages.filter { stood?.contains($0.ordinal) ?? true }
        var kinds: Set<EvidenceKind> = snapshot?.owners == nil ? [] : [.spans]
        if snapshot?.owners != nil, values != nil { kinds.insert(.retrieval) }
        if snapshot?.owners != nil, influence != nil { kinds.insert(.influence) }
        if let wanted = plan.kinds {
            guard wanted.isSubset(of: kinds) else {
                return .failure(
                    JobFault(
                        .unavailable, "not_ready", "the rows are not ready to be weighed, or are too many; try again",
                        retryAfterSeconds: 5))
            }
            kinds = wanted
        }
        do throws(LibraryFault) {
            var reader = try library.reader(of: plan.found.datanet)
            guard !kinds.isEmpty, let snapshot, let owners = snapshot.owners else {
                guard plan.found.isSearched else {
                    return .failure(JobFault(.unavailable, "not_ready", "the rows are not ready to be weighed"))
                }
                return .success(Weighed(prompt: prompt?.tokens, kinds: [], rows: AnswerData.ranked(passages)))
            }
            var helped: SparseEvidence?
            if kinds.contains(.retrieval), let values { helped = effects(plan, passages, values) }
            let learnt = kinds.contains(.influence) ? influence : nil
            let rows = try fused(plan, snapshot.corpus, owners, passages, helped, learnt?.scores, kinds, &reader)
            return .success(Weighed(prompt: prompt?.tokens, kinds: kinds, index: learnt?.index, rows: rows))
        } catch {
            return .failure(JobFault(.broken, "datanet", error.description))
        }
    }

    private func effects(_ plan: WeighingPlan, _ passages: [FoundPassage], _ values: [Int64]) -> SparseEvidence {
        let effects = PassageEffect.effects(
            of: passages.count, seed: plan.seed, values: values,
            answerTokens: min(plan.answer.count, EvidenceMethod.scoredTokensMax))
        var evidence: SparseEvidence = []
        for (passage, effect) in zip(passages, effects) { evidence.append((UInt32(clamping: passage.ordinal), effect)) }
        return evidence.sorted { $0.row < $1.row }
    }

    private func fused(
        _ plan: WeighingPlan, _ corpus: SpanCorpus, _ owners: [UInt32], _ passages: [FoundPassage],
        _ effects: SparseEvidence?, _ influence: [Int64]?, _ kinds: Set<EvidenceKind>, _ reader: inout RowReader
    ) throws(LibraryFault) -> [WeighedRow] {
        var spans: SparseEvidence?
        if kinds.contains(.spans) {
            let found = corpus.spans(in: plan.answer, owners: owners)
            spans = SpanCorpus.evidence(found).map { (row: $0.row, weight: Int64(clamping: $0.weight)) }
        }
        var fault: LibraryFault?
        let shares = RowShares(
            owners: owners, influence: influence, spans: spans, retrieval: effects,
            prompt: passages.map { UInt32(clamping: $0.ordinal) },
            words: { number in
                do throws(LibraryFault) {
                    return try reader.words(number)
                } catch {
                    fault = error
                    return []
                }
            }, rarity: reader.rarity)
        if let fault { throw fault }
        var rows: [WeighedRow] = []
        for (row, share) in shares.paid {
            rows.append(WeighedRow(found: try reader.row(UInt64(row)), share: share))
        }
        for (row, reason) in shares.unpaid {
            let (zero, instead) = ZeroReason.of(reason)
            rows.append(
                WeighedRow(found: try reader.row(UInt64(row)), share: .none, reason: zero, instead: instead))
        }
        return rows
    }
}

extension ZeroReason {
    static func of(_ reason: NoShare) -> (ZeroReason, instead: UInt64?) {
        switch reason {
        case .duplicate(let row): (.duplicate, UInt64(row))
        case .echo(let row): (.echo, UInt64(row))
        case .threshold: (.threshold, nil)
        case .rank: (.rank, nil)
        case .rounding: (.rounding, nil)
        }
    }
}

/// How many tokens of scorings a model has time for: half of those that it did not come to, and a little more each time.
final class ScoringPace: Sendable {
    private static let modelsMax = 64
    private static let tokensMin = 512
    private let most: Int
    private let slow = Mutex<[EngineKey: Int]>([:])

    init(tokensMax: Int) { most = tokensMax }

    /// Whoever runs the peer wants no computing for evidence.
    var isOff: Bool { most == 0 }

    func tokensMax(_ key: EngineKey) -> Int {
        slow.withLock { slow in
            guard let tokens = slow[key] else { return most }
            let next = tokens + tokens / 16 + 64
            slow[key] = next < most ? next : nil
            return tokens
        }
    }

    func missed(_ key: EngineKey, _ tokens: Int) {
        guard tokens > 0 else { return }
        slow.withLock { slow in
            if slow.count >= Self.modelsMax, slow[key] == nil { slow.removeAll() }
            slow[key] = min(slow[key] ?? most, max(Self.tokensMin, tokens / 2))
        }
    }
}
