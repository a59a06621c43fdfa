// Benthos, the engine of Redpanda Connect, with a stand-in for its input `redpanda`, which is not published under an
// open licence: the same name, and of its fields those that docs/connect.md uses.
package main

import (
	"context"
	"errors"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
)

type reader struct {
	options []kgo.Opt
	client  *kgo.Client
	free    chan struct{} // holds one token while no batch is under way: offsets are committed in order
}

func (r *reader) Connect(context.Context) (err error) {
	r.client, err = kgo.NewClient(r.options...)
	return err
}

func (r *reader) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	select {
	case <-r.free:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	fetched := r.client.PollRecords(ctx, 500)
	records := fetched.Records()
	if len(records) == 0 {
		r.free <- struct{}{}
		if fetched.IsClientClosed() {
			return nil, nil, service.ErrEndOfInput
		}
		return nil, nil, errors.Join(fetched.Err(), ctx.Err())
	}
	batch := make(service.MessageBatch, 0, len(records))
	for _, record := range records {
		message := service.NewMessage(record.Value)
		message.MetaSetMut("kafka_topic", record.Topic)
		message.MetaSetMut("kafka_key", string(record.Key))
		batch = append(batch, message)
	}
	return batch, func(ctx context.Context, err error) error {
		defer func() { r.free <- struct{}{} }()
		if err != nil {
			return err
		}
		return r.client.CommitRecords(ctx, records...)
	}, nil
}

func (r *reader) Close(context.Context) error {
	if r.client != nil {
		r.client.Close()
	}
	return nil
}

func open(config *service.ParsedConfig, _ *service.Resources) (service.BatchInput, error) {
	seeds, err := config.FieldStringList("seed_brokers")
	if err != nil {
		return nil, err
	}
	topics, err := config.FieldStringList("topics")
	if err != nil {
		return nil, err
	}
	group, err := config.FieldString("consumer_group")
	if err != nil {
		return nil, err
	}
	r := &reader{free: make(chan struct{}, 1), options: []kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(topics...), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}}
	r.free <- struct{}{}
	return service.AutoRetryNacksBatched(r), nil
}

func main() {
	fields := []*service.ConfigField{
		service.NewStringListField("seed_brokers"), service.NewStringListField("topics"),
		service.NewStringField("consumer_group"),
	}
	if err := service.RegisterBatchInput("redpanda", service.NewConfigSpec().Fields(fields...), open); err != nil {
		panic(err)
	}
	service.RunCLI(context.Background())
}
