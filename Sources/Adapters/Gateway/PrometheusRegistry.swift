// A swift-metrics backend that keeps a bounded set of series and prints them as Prometheus text 0.0.4. swift-metrics
// defines the measuring side only; this is the reading side, as small as the format allows.

package import Metrics
import Synchronization

package final class PrometheusRegistry: MetricsFactory {
    /// Series in all; beyond it measurements are counted in `openledger_metrics_dropped_total` and forgotten.
    package static let seriesMax = 2_048
    static let labelsMax = 8
    /// Upper bounds of timers, in seconds.
    static let secondBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
    /// Upper bounds of recorders, in units.
    static let unitBuckets: [Double] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192]

    private struct Key: Hashable, Comparable {
        let name: String
        let labels: String

        static func < (left: Key, right: Key) -> Bool {
            left.name == right.name ? left.labels < right.labels : left.name < right.name
        }
    }

    private struct Series {
        var table: [Key: PrometheusSample] = [:]
        var dropped: UInt64 = 0
    }

    private let series = Mutex(Series())

    package init() {}

    private func sample(
        _ label: String, _ dimensions: [(String, String)], _ kind: PrometheusSample.Kind
    ) -> PrometheusSample? {
        let name = Self.name(label) + kind.suffix(after: label)
        let labels = dimensions.prefix(Self.labelsMax).sorted { $0.0 < $1.0 }
            .map { "\(Self.name($0.0))=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
        return series.withLock { series in
            let key = Key(name: name, labels: labels)
            if let known = series.table[key] { return known }
            guard series.table.count < Self.seriesMax else {
                series.dropped += 1
                return nil
            }
            let fresh = PrometheusSample(kind)
            series.table[key] = fresh
            return fresh
        }
    }

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        sample(label, dimensions, .counter) ?? NOOPMetricsHandler.instance
    }

    package func makeFloatingPointCounter(label: String, dimensions: [(String, String)])
        -> any FloatingPointCounterHandler
    {
        sample(label, dimensions, .counter) ?? NOOPMetricsHandler.instance
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        sample(label, dimensions, .gauge) ?? NOOPMetricsHandler.instance
    }

    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        sample(label, dimensions, aggregate ? .histogram : .gauge) ?? NOOPMetricsHandler.instance
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        sample(label, dimensions, .timer) ?? NOOPMetricsHandler.instance
    }

    // A series outlives its handle: a scrape must see counters that nobody holds at the moment.
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}

    /// Every series, sorted by name and labels.
    package func rendered() -> String {
        let (rows, dropped) = series.withLock { series in
            (series.table.sorted { $0.key < $1.key }, series.dropped)
        }
        var text = ""
        var lastName = ""
        for (key, sample) in rows {
            if key.name != lastName { text += "# TYPE \(key.name) \(sample.kind.type)\n" }
            lastName = key.name
            text += sample.lines(name: key.name, labels: key.labels)
        }
        return text + "# TYPE openledger_metrics_dropped_total counter\nopenledger_metrics_dropped_total \(dropped)\n"
    }

    /// The characters that the format allows; others become `_`.
    static func name(_ label: String) -> String {
        String(
            label.prefix(128).map { $0.isASCII && ($0.isLetter || $0.isNumber) || $0 == "_" || $0 == ":" ? $0 : "_" })
    }

    private static func escaped(_ value: String) -> String {
        value.prefix(128).reduce(into: "") { text, character in
            switch character {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.append(character)
            }
        }
    }
}

final class PrometheusSample: CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler, TimerHandler {
    enum Kind: Sendable {
        case counter, gauge, histogram, timer

        var type: String {
            switch self {
            case .counter: "counter"
            case .gauge: "gauge"
            case .histogram, .timer: "histogram"
            }
        }

        var buckets: [Double] {
            self == .timer ? PrometheusRegistry.secondBuckets : PrometheusRegistry.unitBuckets
        }

        func suffix(after label: String) -> String {
            switch self {
            case .counter: label.hasSuffix("_total") ? "" : "_total"
            case .timer: label.hasSuffix("_seconds") ? "" : "_seconds"
            case .gauge, .histogram: ""
            }
        }
    }

    private struct State {
        var value = 0.0
        var count: UInt64 = 0
        var buckets: [UInt64]
    }

    let kind: Kind
    private let state: Mutex<State>

    init(_ kind: Kind) {
        self.kind = kind
        state = Mutex(State(buckets: [UInt64](repeating: 0, count: kind.buckets.count)))
    }

    func increment(by amount: Int64) { increment(by: Double(amount)) }
    func increment(by amount: Double) { state.withLock { $0.value += amount } }
    func decrement(by amount: Double) { state.withLock { $0.value -= amount } }
    func reset() { state.withLock { $0.value = 0 } }
    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { state.withLock { $0.value = value } }
    func record(_ value: Int64) { record(Double(value)) }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

    func record(_ value: Double) {
        state.withLock { state in
            if kind == .gauge {
                state.value = value
                return
            }
            state.value += value
            state.count += 1
            if let index = kind.buckets.firstIndex(where: { value <= $0 }) { state.buckets[index] += 1 }
        }
    }

    func lines(name: String, labels: String) -> String {
        let state = state.withLock { $0 }
        let suffix = labels.isEmpty ? "" : "{\(labels)}"
        switch kind {
        case .counter, .gauge: return "\(name)\(suffix) \(state.value)\n"
        case .histogram, .timer:
            let lead = labels.isEmpty ? "" : labels + ","
            var text = ""
            var sum: UInt64 = 0
            for (bound, count) in zip(kind.buckets, state.buckets) {
                sum += count
                text += "\(name)_bucket{\(lead)le=\"\(bound)\"} \(sum)\n"
            }
            text += "\(name)_bucket{\(lead)le=\"+Inf\"} \(state.count)\n"
            return text + "\(name)_sum\(suffix) \(state.value)\n\(name)_count\(suffix) \(state.count)\n"
        }
    }
}
