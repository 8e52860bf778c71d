// How fast this peer trains: what a time is foretold from. Of each base and precision the newest figures are kept; of one that
// was never trained here, those of another by the number of its weights, or else a constant, and it is said to be a guess.

import Arithmetic
import Primitives
import Storage
import Synchronization

/// Tokens that a run computes.
struct TrainingWork: Hashable, Sendable {
    var steps = 0.0
    var evaluation = 0.0
    var influence = 0.0
}

struct TrainingSpeed: Hashable, Sendable {
    /// Of the base.
    var weights: Double
    /// Tokens a second; nil where nobody has looked.
    var steps: Double
    var evaluation: Double?
    var influence: Double?
    /// Before the first step: the base read, the rows cut into tokens.
    var begin: Double

    /// A step goes through the frozen weights forwards, and back for what lies below: four operations a weight and token. So
    /// many billions a second is what one thread of a processor of these years does.
    static let operationsPerThread = 20e9

    static func guess(weights: Double, threads: Int) -> TrainingSpeed {
        let steps = operationsPerThread * Double(max(1, threads)) / (4 * max(1, weights))
        return TrainingSpeed(weights: weights, steps: steps, evaluation: nil, influence: nil, begin: 1)
    }

    /// The same machine with another base.
    func scaled(to other: Double) -> TrainingSpeed {
        let factor = weights / max(1, other)
        return TrainingSpeed(
            weights: other, steps: steps * factor, evaluation: evaluation.map { $0 * factor },
            influence: influence.map { $0 * factor }, begin: begin / max(factor, 1e-9))
    }

    /// Where a half was never measured: without a backward pass it takes a third of the time; a row's projection takes about
    /// what its step does.
    func seconds(of work: TrainingWork) -> Double {
        begin + tail(of: work) + work.steps / max(steps, 1e-9)
    }

    /// All but the steps and what comes before them.
    func tail(of work: TrainingWork) -> Double {
        work.evaluation / max(evaluation ?? 3 * steps, 1e-9) + work.influence / max(influence ?? steps, 1e-9)
    }
}

/// The newest last; the oldest makes room.
struct TrainingSpeeds: Hashable, Sendable {
    private(set) var known: [(key: String, speed: TrainingSpeed)] = []

    static func == (a: Self, b: Self) -> Bool {
        a.known.map(\.key) == b.known.map(\.key) && a.known.map(\.speed) == b.known.map(\.speed)
    }
    func hash(into hasher: inout Hasher) { for (key, speed) in known { hasher.combine(key); hasher.combine(speed) } }

    static func key(_ base: CID, _ precision: Precision) -> String { "\(base.text) \(precision.rawValue)" }

    func speed(
        _ base: CID, _ precision: Precision, weights: Double, threads: Int
    ) -> (speed: TrainingSpeed, isMeasured: Bool) {
        let key = Self.key(base, precision)
        if let found = known.last(where: { $0.key == key }) { return (found.speed, true) }
        if let other = known.last { return (other.speed.scaled(to: weights), false) }
        return (.guess(weights: weights, threads: threads), false)
    }

    mutating func learn(_ base: CID, _ precision: Precision, _ speed: TrainingSpeed) {
        var speed = speed
        let key = Self.key(base, precision), before = known.last { $0.key == key }?.speed
        speed.evaluation = speed.evaluation ?? before?.evaluation
        speed.influence = speed.influence ?? before?.influence
        known.removeAll { $0.key == key }
        known.append((key, speed))
        if known.count > TrainingDeskLimit.speedsMax { known.removeFirst(known.count - TrainingDeskLimit.speedsMax) }
    }

    var json: JSONValue {
        .object([
            "speeds": .array(
                known.map { key, speed in
                    .object([
                        "base": .string(key), "weights": .double(speed.weights), "steps": .double(speed.steps),
                        "evaluation": speed.evaluation.map { .double($0) } ?? .null,
                        "influence": speed.influence.map { .double($0) } ?? .null, "begin": .double(speed.begin),
                    ])
                })
        ])
    }

    init() {}

    /// What `json` gave; of anything else what can be read.
    init(_ json: JSONValue) {
        func number(_ value: JSONValue?) -> Double? {
            value?.double.flatMap { $0.isFinite && $0 > 0 && $0 < 1e18 ? $0 : nil }
        }
        for one in (json["speeds"]?.items ?? []).suffix(TrainingDeskLimit.speedsMax) {
            guard let key = one["base"]?.text, let weights = number(one["weights"]), let steps = number(one["steps"]),
                let begin = number(one["begin"])
            else { continue }
            let speed = TrainingSpeed(
                weights: weights, steps: steps, evaluation: number(one["evaluation"]),
                influence: number(one["influence"]), begin: begin)
            known.append((key, speed))
        }
    }
}

/// On the disk: a file that may be lost.
final class TrainingSpeedBook: Sendable {
    private let path: String?
    private let speeds: Mutex<TrainingSpeeds>

    /// - Parameter path: nil: it forgets all at the end.
    init(path: String?) {
        self.path = path
        let bytes = path.flatMap { TrainingFolder(path: $0).bytes($0) } ?? []
        speeds = Mutex(((try? JSONValue.parse(bytes)).map { TrainingSpeeds($0) }) ?? TrainingSpeeds())
    }

    func speed(
        _ base: CID, _ precision: Precision, weights: Double, threads: Int
    ) -> (speed: TrainingSpeed, isMeasured: Bool) {
        speeds.withLock { $0.speed(base, precision, weights: weights, threads: threads) }
    }

    /// A disk that does not take it costs a guess and nothing else.
    func learn(_ base: CID, _ precision: Precision, _ speed: TrainingSpeed) {
        let json = speeds.withLock { speeds in
            speeds.learn(base, precision, speed)
            return speeds.json
        }
        if let path { try? Home.writeWhole(json.serialized(), to: path) }
    }
}
