#include "inference/model_registry.h"

#include <stdlib.h>

#include <filesystem>
#include <thread>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/fake_model_loader.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ModelRegistryTest : public ::testing::Test {
 protected:
  ModelRegistryOptions Options(int64_t max_bytes, const std::string& root = "") {
    ModelRegistryOptions options;
    options.max_bytes = max_bytes;
    options.root = root;
    options.env = &env_;
    return options;
  }
  static std::vector<int32_t> Generate(const ServedModelPtr& model) {
    GenerateParams params;
    params.prompt = {kBosId, 70};
    params.max_tokens = 12;
    params.ignore_eos = true;
    auto generation = *model->engine->Generate(params);
    std::vector<int32_t> ids;
    GenerateEvent event;
    do {
      generation->Next(absl::InfiniteDuration(), &event);
      ids.insert(ids.end(), event.tokens.begin(), event.tokens.end());
    } while (event.finish == FinishReason::kNone);
    return ids;
  }
  static std::string States(const ModelRegistry& registry) {
    std::string text;
    for (const ModelEntry& e : registry.List())
      absl::StrAppend(&text, e.name, "/", e.version, " ", ModelStateName(e.state), ";");
    return text;
  }

  FakeModelLoader loader_;
  MemoryEnv env_;
};

TEST_F(ModelRegistryTest, FindsByNameAndVersionAndTheOnlyOneWithoutAName) {
  ModelRegistry registry(&loader_, Options(0));
  EXPECT_THAT(registry.Find(""), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no model")));
  ASSERT_OK(registry.Load("a", "a.tpack"));
  ASSERT_OK_AND_ASSIGN(const ServedModelPtr only, registry.Find(""));
  EXPECT_EQ(only->name, "a");
  EXPECT_EQ(only->path, "a.tpack");
  EXPECT_OK(registry.Find("a", "1"));
  EXPECT_THAT(registry.Find("a", "2"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"1\" is; leave it empty")));
  EXPECT_THAT(registry.Find("x"), StatusIs(absl::StatusCode::kNotFound,
                                           HasSubstr("\"x\" is not served here, \"a\" is")));
  ASSERT_OK(registry.Load("b", "b.tpack"));
  EXPECT_THAT(registry.Find(""), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("\"a\", \"b\"; name one of them")));
}

TEST_F(ModelRegistryTest, ANewVersionServesNewRequestsAndTheOldOneGoesWithItsLastHolder) {
  ModelRegistry registry(&loader_, Options(0));
  ASSERT_OK(registry.Load("a", "one.tpack"));
  ServedModelPtr old = *registry.Find("a");
  const std::vector<int32_t> before = Generate(old);
  ASSERT_OK(registry.Load("a", "two.tpack"));
  const ServedModelPtr fresh = *registry.Find("a");
  EXPECT_EQ(fresh->version, 2);
  EXPECT_NE(Generate(fresh), before);
  EXPECT_EQ(Generate(old), before) << "still there for whoever holds it";
  const std::weak_ptr<ServedModel> watched = old;
  old.reset();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(States(registry), "a/2 READY;");
}

TEST_F(ModelRegistryTest, AFailedLoadLeavesTheOldVersionServing) {
  ModelRegistry registry(&loader_, Options(0));
  ASSERT_OK(registry.Load("a", "one.tpack"));
  EXPECT_THAT(registry.Load("a", "broken.tpack"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
  EXPECT_THAT(registry.Load("a", "missing.tpack"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK_AND_ASSIGN(const ServedModelPtr model, registry.Find("a"));
  EXPECT_EQ(model->version, 1);
  EXPECT_EQ(registry.List()[0].path, "one.tpack");
  EXPECT_THAT(registry.List()[0].reason, HasSubstr("checksum"));
  EXPECT_FALSE(registry.Load("new", "broken.tpack").ok());
  EXPECT_EQ(States(registry), "a/1 READY;new/1 UNAVAILABLE;");
}

TEST_F(ModelRegistryTest, RefusesWithTheArithmeticWhatDoesNotFitBesideWhatIsLoaded) {
  ModelRegistry registry(&loader_, Options(2500));  // each needs 1000 + 100
  ASSERT_OK(registry.Load("a", "one.tpack"));
  ServedModelPtr held = *registry.Find("a");
  ASSERT_OK(registry.Load("a", "two.tpack"));
  EXPECT_THAT(
      registry.Load("a", "three.tpack"),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("needs 1100 bytes = 1000 of weights + 80 of KV cache + 20 of "
                               "activations"),
                     HasSubstr("300 of the 2500 allowed are left"),
                     HasSubstr("a 1100, a 1100 (until its last requests end) bytes"),
                     HasSubstr("raise --max-memory to 3300"))));
  held.reset();
  EXPECT_OK(registry.Load("a", "three.tpack")) << "the first version has gone";
  ModelRegistry small(&loader_, Options(1000));
  EXPECT_THAT(small.Load("a", "one.tpack"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1000 of the 1000")));
}

TEST_F(ModelRegistryTest, LoadsAndUnloadsByNameBelowTheRootOnly) {
  ASSERT_OK(env_.CreateDirs("/models/folder"));
  ASSERT_OK(WriteFileAtomically(&env_, "/models/x.tpack", "x"));
  ASSERT_OK(WriteFileAtomically(&env_, "/models/notes.txt", "x"));
  ASSERT_OK(WriteFileAtomically(&env_, "/models/folder/config.json", "{}"));
  ASSERT_OK(WriteFileAtomically(&env_, "/secret.tpack", "x"));
  ModelRegistry closed(&loader_, Options(0));
  EXPECT_THAT(closed.LoadFromRoot("x"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--model-root")));
  EXPECT_THAT(closed.UnloadFromRoot("x"), StatusIs(absl::StatusCode::kFailedPrecondition));

  ModelRegistry registry(&loader_, Options(0, "/models"));
  EXPECT_EQ(States(registry), "folder/0 UNAVAILABLE;x/0 UNAVAILABLE;");
  for (const char* outside : {"../secret", "/secret", "a/b", "", ".", "..", ".hidden"}) {
    EXPECT_THAT(registry.LoadFromRoot(outside), StatusIs(absl::StatusCode::kInvalidArgument))
        << outside;
  }
  EXPECT_THAT(registry.LoadFromRoot("y"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(registry.LoadFromRoot("x"));
  EXPECT_EQ(States(registry), "folder/0 UNAVAILABLE;x/1 READY;");
  ServedModelPtr held = *registry.Find("x");
  ASSERT_OK(registry.UnloadFromRoot("x"));
  EXPECT_THAT(registry.Find("x"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(States(registry), "folder/0 UNAVAILABLE;x/1 UNLOADING;");
  EXPECT_FALSE(Generate(held).empty());
  held.reset();
  EXPECT_EQ(States(registry), "folder/0 UNAVAILABLE;x/1 UNAVAILABLE;");
  EXPECT_THAT(registry.UnloadFromRoot("x"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_OK(registry.LoadFromRoot("x"));
}

TEST_F(ModelRegistryTest, NoSymbolicLinkLeadsOutOfTheRoot) {
  std::string pattern = testing::TempDir() + "/registryXXXXXX";
  const std::string base = std::filesystem::canonical(mkdtemp(pattern.data()));
  std::filesystem::create_directories(base + "/models");
  ASSERT_OK(WriteFileAtomically(Env::Real(), base + "/secret", "x"));
  ASSERT_OK(WriteFileAtomically(Env::Real(), base + "/models/own", "x"));
  std::filesystem::create_symlink(base + "/secret", base + "/models/away.tpack");
  std::filesystem::create_symlink("own", base + "/models/near.tpack");
  ModelRegistryOptions options = Options(0, base + "/models");
  options.env = Env::Real();
  ModelRegistry registry(&loader_, options);
  EXPECT_THAT(registry.LoadFromRoot("away"),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr(base + "/secret")));
  EXPECT_OK(registry.LoadFromRoot("near"));
  std::filesystem::remove_all(base);
}

TEST_F(ModelRegistryTest, ALoadThatIsGivenUpReturnsAtOnceAndServesNobody) {
  HeldModelLoader loader;
  ModelRegistry registry(&loader, Options(0));
  const auto give_up = [&] {
    loader.AwaitLoad();
    return true;
  };
  EXPECT_FALSE(registry.HasAbandonedLoad());
  EXPECT_THAT(registry.Load("a", "a.tpack", give_up),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("\"a\" of a.tpack was given up")));
  EXPECT_TRUE(registry.HasAbandonedLoad());
  EXPECT_EQ(States(registry), "a/1 LOADING;");
  loader.Open();
  while (registry.HasAbandonedLoad()) std::this_thread::yield();
  EXPECT_EQ(States(registry), "a/1 UNAVAILABLE;");
  EXPECT_OK(registry.Load("a", "a.tpack", [] { return false; }));
  EXPECT_EQ(States(registry), "a/2 READY;");
}

TEST_F(ModelRegistryTest, DestructionWaitsForALoadThatWasGivenUp) {
  HeldModelLoader loader;
  std::thread opener;
  {
    ModelRegistry registry(&loader, Options(0));
    EXPECT_THAT(registry.Load("a", "a.tpack", [] { return true; }),
                StatusIs(absl::StatusCode::kCancelled));
    opener = std::thread([&] { loader.Open(); });
  }
  opener.join();
}

TEST_F(ModelRegistryTest, AModelThatCannotAnswerIsNotSwappedIn) {
  EngineOptions options;
  options.max_queue = 0;  // refuses the warm-up
  FakeModelLoader refusing(options);
  ModelRegistry registry(&refusing, Options(0));
  EXPECT_THAT(registry.Load("a", "a.tpack"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("warm-up of a.tpack")));
  EXPECT_EQ(States(registry), "a/1 UNAVAILABLE;");
}

}  // namespace
}  // namespace tritter
