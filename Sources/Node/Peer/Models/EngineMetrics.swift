// What an engine's thread measures of itself, by swift-metrics: a batch's size, the queue, pages, cache and adapters. The
// labels are fixed, so several engines add up in the counters and the gauges tell of the one that stepped last.

import Inference
import Metrics

struct EngineMetrics {
    private let batch = Recorder(label: "openledger_engine_batch_sequences")
    private let batchTokens = Recorder(label: "openledger_engine_batch_tokens")
    private let live = Gauge(label: "openledger_engine_sequences")
    private let queued = Gauge(label: "openledger_engine_queued")
    private let pagesHeld = Gauge(label: "openledger_engine_pages_held")
    private let pagesIdle = Gauge(label: "openledger_engine_pages_idle")
    private let adapters = Gauge(label: "openledger_engine_adapters_resident")
    private let adapterBytes = Gauge(label: "openledger_engine_adapter_bytes")
    /// What grows, with what it was at the last step.
    private var counted: [(counter: Counter, value: KeyPath<EngineStatistics, UInt64>, last: UInt64)] = [
        (Counter(label: "openledger_engine_steps"), \.steps, 0),
        (Counter(label: "openledger_engine_requests"), \.requests, 0),
        (Counter(label: "openledger_engine_refusals"), \.refusals, 0),
        (Counter(label: "openledger_engine_cancelled"), \.cancelled, 0),
        (Counter(label: "openledger_engine_preemptions"), \.preemptions, 0),
        (Counter(label: "openledger_engine_prompt_tokens"), \.promptTokens, 0),
        (Counter(label: "openledger_engine_cached_prompt_tokens"), \.cachedTokens, 0),
        (Counter(label: "openledger_engine_answer_tokens"), \.answerTokens, 0),
        (Counter(label: "openledger_engine_page_evictions"), \.pageEvictions, 0),
        (Counter(label: "openledger_engine_stages_replaced"), \.stagesReplaced, 0),
        (Counter(label: "openledger_engine_adapter_loads"), \.adapterLoads, 0),
        (Counter(label: "openledger_engine_adapter_load_failures"), \.adapterLoadFailures, 0),
        (Counter(label: "openledger_engine_adapter_hits"), \.adapterHits, 0),
        (Counter(label: "openledger_engine_adapter_misses"), \.adapterMisses, 0),
        (Counter(label: "openledger_engine_adapter_evictions"), \.adapterEvictions, 0),
    ]

    /// An adapter was read and packed, on a queue beside the engine's thread.
    static func adapterLoaded(in time: Duration) {
        let (seconds, attoseconds) = time.components
        Timer(label: "openledger_engine_adapter_load_seconds")
            .recordNanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }

    /// After each step.
    mutating func tell(_ statistics: EngineStatistics) {
        if statistics.batchSequences > 0 {
            batch.record(statistics.batchSequences)
            batchTokens.record(statistics.batchTokens)
        }
        live.record(statistics.sequencesLive)
        queued.record(statistics.sequencesQueued)
        pagesHeld.record(statistics.pagesHeld)
        pagesIdle.record(statistics.pagesIdle)
        adapters.record(statistics.adaptersResident)
        adapterBytes.record(statistics.adapterBytes)
        for index in counted.indices {
            let value = statistics[keyPath: counted[index].value]
            if value > counted[index].last { counted[index].counter.increment(by: value - counted[index].last) }
            counted[index].last = value
        }
    }
}
